"""Channels of projects: where messages about runs go. Their addresses and secrets are sealed as secrets are."""

from __future__ import annotations

import logging
import time

import msgspec

from coordinator.projects import Projects
from coordinator.security.roles import Identity
from coordinator.security.vault import Vault
from coordinator.store.columns import as_json, load
from coordinator.store.models import Channel
from coordinator.store.store import Store
from protocol import messages as m
from protocol.deliveries import ChannelSpec, ChannelView, check_address, is_signed, shown
from protocol.errors import ProtocolError, UsageError

log = logging.getLogger(__name__)

MOST_CHANNELS = 10_000
MOST_PATTERNS = 100
LONGEST_SECRET = 4096
LONGEST_TOKEN = 100
SEALED = "channel {}"
"""In place of a secret's name, which has no space."""


class _Sealed(msgspec.Struct):
    url: str
    secret: str


class Channels:
    """The channels of one coordinator. Raises ProtocolError for refused requests."""

    def __init__(self, store: Store, vault: Vault, projects: Projects) -> None:
        self._store = store
        self._vault = vault
        self._projects = projects
        self._views: dict[int, ChannelView] = {}
        self._sealed: dict[int, str] = {}
        self._tokens: dict[str, int] = {}
        for id, project, token, address, on, branches, sealed, at, by in store.all(Channel.select()):
            try:
                view = ChannelView(
                    id=id,
                    project=project,
                    address=address,
                    on=on,
                    branches=load(list[str], branches),
                    created_at=at,
                    created_by=by,
                )
            except ValueError as error:
                log.error("ignoring channel %s: its row in the database is invalid (%s)", id, error)
                continue
            self._views[id], self._sealed[id], self._tokens[token] = view, sealed, id
        self._next = store.newest(Channel) + 1
        projects.on_removal.append(self._project_removed)

    # changes by users, each durable at once

    def add(self, message: m.AddChannel, by: Identity) -> m.ChannelAdded:
        """Adds a channel, once for each token."""
        if not 1 <= len(message.token) <= LONGEST_TOKEN or "\0" in message.token:
            raise ProtocolError("bad_field", f"a token has 1 to {LONGEST_TOKEN} characters")
        if (known := self._tokens.get(message.token)) is not None:
            return m.ChannelAdded(id=message.id, channel=known)
        spec = message.channel
        self._projects.known(spec.project)
        _check(spec)
        if len(self._views) >= MOST_CHANNELS:
            raise ProtocolError("bad_request", f"there are {MOST_CHANNELS} channels already")
        id, now = self._next, time.time()
        view = ChannelView(
            id=id,
            project=spec.project,
            address=shown(spec.url),
            on=spec.on,
            branches=spec.branches,
            created_at=now,
            created_by=by.name,
        )
        sealed = self._vault.seal((spec.project, SEALED.format(id)), as_json(_Sealed(spec.url, spec.secret)))
        branches = as_json(spec.branches)
        row = (id, spec.project, message.token, view.address, spec.on, branches, sealed, now, by.name)
        line = (now, by.name, by.role, "add channel", f"channel {id}", f"{spec.project} {view.address}")
        self._store.keep(line, (Channel, row))
        self._next += 1
        self._views[id], self._sealed[id], self._tokens[message.token] = view, sealed, id
        return m.ChannelAdded(id=message.id, channel=id)

    def remove(self, message: m.RemoveChannel, by: Identity) -> None:
        """Removes a channel of a project."""
        view = self._views.get(message.channel)
        if view is None or view.project != message.project:
            text = f"project {message.project[:100]!r} has no channel {message.channel}"
            raise ProtocolError("not_found", f"{text}; see: longshore project notify GROUP/NAME list")
        self._remove(view, by)

    def _remove(self, view: ChannelView, by: Identity) -> None:
        line = (time.time(), by.name, by.role, "remove channel", f"channel {view.id}", f"{view.project} {view.address}")
        self._store.remove(line, Channel, Channel.id == view.id)
        del self._views[view.id], self._sealed[view.id]
        self._tokens = {token: id for token, id in self._tokens.items() if id != view.id}

    def _project_removed(self, project: str, by: Identity) -> None:
        for view in [view for view in self._views.values() if view.project == project]:
            self._remove(view, by)

    # for readers

    def list_channels(self, message: m.ListChannels) -> m.ChannelList:
        """Channels, by project and id."""
        chosen = [view for view in self._views.values() if message.project in (None, view.project)]
        return m.ChannelList(id=message.id, channels=sorted(chosen, key=lambda view: (view.project, view.id)))

    def of(self, project: str) -> list[tuple[int, ChannelSpec]]:
        """The channels of a project, by id, without address and secret."""
        views = (view for view in self._views.values() if view.project == project)
        return [(v.id, ChannelSpec(project=project, url="", on=v.on, branches=v.branches)) for v in views]

    def address(self, channel: int) -> str:
        """A channel's address for people; of one that was removed, its number."""
        view = self._views.get(channel)
        return view.address if view is not None else f"channel {channel}, which was removed"

    def open(self, channel: int) -> ChannelSpec | None:
        """A channel with its address and secret, for the launcher; None if it was removed or its row is invalid."""
        view = self._views.get(channel)
        if view is None:
            return None
        try:
            sealed = load(_Sealed, self._vault.open((view.project, SEALED.format(channel)), self._sealed[channel]))
        except (UsageError, ValueError) as error:
            log.error("channel %d can't be opened: %s", channel, error)
            return None
        return ChannelSpec(
            project=view.project, url=sealed.url, secret=sealed.secret, on=view.on, branches=view.branches
        )


def _check(spec: ChannelSpec) -> None:
    try:
        check_address(spec.url)
    except UsageError as error:
        raise ProtocolError("bad_request", str(error)) from None
    if len(spec.branches) > MOST_PATTERNS or len(spec.secret) > LONGEST_SECRET or "\0" in spec.secret:
        raise ProtocolError("too_large", f"a channel has at most {MOST_PATTERNS} patterns of branches")
    if is_signed(spec.url) and not spec.secret:
        raise ProtocolError("bad_request", "messages as JSON are signed: give a secret")

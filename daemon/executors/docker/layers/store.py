"""The layers of one worker on its engine: each is a volume, filled once, and noted on this host when it is complete.

A volume without a note is half made: nobody uses it, and the sweep removes it. A note counts only for the boot that it
was written under, since after a power failure a volume may lack what the engine had not written yet.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Lock

import msgspec

from daemon.executors.base import Layer
from daemon.executors.docker.api_client import EngineError, labels_of
from daemon.executors.docker.belongings import COORDINATOR, ROLE, WORKER, layers_of
from daemon.executors.docker.layers.archive import LayerArchive
from daemon.executors.docker.layers.helper import MOUNT, Helpers
from daemon.runtime.eviction import EVICT_DOWN_TO
from daemon.runtime.thread_pool import run_in_background
from daemon.tar_stream import Owner
from protocol.clock import boot
from protocol.decoders import from_json
from protocol.files import replace_file

NO_ROOM = "no space left"
"""In the engine's message about a full disk."""

logger = logging.getLogger(__name__)


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """A complete layer. `size` is in bytes; the time of its last use is that of the note's file."""

    key: str
    volume: str
    size: int
    boot: str


class Held(msgspec.Struct, frozen=True):
    """A layer's volume, which an attempt holds, and its directory on the engine's host."""

    volume: str
    mountpoint: str


class LayerStore:
    """See the module. At most `limit` bytes, none unused for `keep_for` seconds, unless in use. Thread-safe."""

    def __init__(self, helpers: Helpers, directory: Path, limit: int, keep_for: float | None = None) -> None:
        self._engine = helpers.engine
        self.helpers = helpers
        self._labels = helpers.labels
        owner = f"{self._labels[COORDINATOR]}\0{self._labels[WORKER]}"
        self._directory = directory / hashlib.sha256(owner.encode()).hexdigest()[:16]
        self._limit = limit
        self._keep_for = keep_for
        self._lock = Lock()
        self._making: defaultdict[str, Lock] = defaultdict(Lock)  # by key
        self._holders: dict[str, list[str]] = {}  # volumes by attempt

    def hold(self, attempt: str, layers: Sequence[Layer], owner: Owner, image: str) -> list[Held]:
        """The volumes of these layers, held by the attempt until its `release`; fills those that are missing.

        `owner` is that of the layers, `image` the id of an image on the engine. Raises EngineError, EngineUnavailable,
        BadArchive, OSError.
        """
        volumes = {layer.key: self._hold_known(attempt, layer.key) for layer in layers}
        there = self._mountpoints() if any(volumes.values()) else {}
        if lacking := [layer for layer in layers if volumes[layer.key] not in there]:
            with ExitStack() as makers:
                for key in sorted(layer.key for layer in lacking):  # in one order for all: no two wait for each other
                    makers.enter_context(self._making[key])
                for layer in lacking:
                    volumes[layer.key] = self._made_meanwhile(attempt, layer.key, volumes[layer.key])
                lacking = [layer for layer in lacking if volumes[layer.key] is None]
                if lacking:
                    volumes |= self._make(attempt, lacking, owner, image)
                    run_in_background(self._trim_above_limit)
            there = self._mountpoints()
        held: list[Held] = []
        for layer in layers:
            volume = volumes[layer.key]
            if volume is None or volume not in there:
                raise EngineError(404, f"the volume {volume} of its project directory was removed by others")
            held.append(Held(volume, there[volume]))
        return held

    def release(self, attempt: str) -> None:
        """The attempt's containers are gone."""
        with self._lock:
            self._holders.pop(attempt, None)

    def _hold_known(self, attempt: str, key: str) -> str | None:
        """The volume of a noted layer, from now on held; it may be gone."""
        path = self._path(key)
        with self._lock:
            note = _read(path)
            if note is None or note.boot != boot():
                return None
            with suppress(OSError):
                os.utime(path)
            self._hold(attempt, note.volume)
            return note.volume

    def _hold(self, attempt: str, volume: str) -> None:
        self._holders.setdefault(attempt, []).append(volume)

    def _made_meanwhile(self, attempt: str, key: str, missing: str | None) -> str | None:
        """The volume that another attempt has made; drops the note of a `missing` one."""
        volume = self._hold_known(attempt, key)
        if volume is not None and volume == missing:
            logger.warning("the volume %s of a layer was removed by others: it is filled again", volume)
            with self._lock, suppress(OSError):
                self._path(key).unlink()
            return None
        return volume

    def _mountpoints(self) -> dict[str, str]:
        """The volumes that are there, and their directories on the engine's host."""
        wanted = [f"{key}={self._labels[key]}" for key in (COORDINATOR, WORKER, ROLE)]
        query = {"filters": msgspec.json.encode({"label": wanted}).decode()}
        answer = self._engine.call("GET", "/volumes", query=query)
        return {str(one["Name"]): str(one["Mountpoint"]) for one in answer.get("Volumes") or ()}

    def _make(self, attempt: str, layers: Sequence[Layer], owner: Owner, image: str) -> dict[str, str | None]:
        """Fills new volumes, by key; on a full disk once more, after all unused layers are gone."""
        try:
            return self._filled(attempt, layers, owner, image)
        except EngineError as error:
            if NO_ROOM not in error.message or not self._evict(self._notes(), 0):
                raise
            logger.warning("the engine's disk is full: unused layers were removed")
        return self._filled(attempt, layers, owner, image)

    def _filled(self, attempt: str, layers: Sequence[Layer], owner: Owner, image: str) -> dict[str, str | None]:
        """Through one container: to create and remove it costs half of what a small layer does."""
        made: dict[str, str | None] = {}
        with ExitStack() as names:
            volumes = [names.enter_context(self.helpers.making()) for _ in layers]
            places = [f"{MOUNT}/{number}" for number in range(len(layers))]
            try:
                for volume in volumes:
                    self._engine.call("POST", "/volumes/create", body={"Name": volume, "Labels": self._labels})
                binds = [f"{volume}:{place}:nocopy" for volume, place in zip(volumes, places, strict=True)]
                with self.helpers.container(volumes[0], image, binds) as container:
                    for layer, volume, place in zip(layers, volumes, places, strict=True):
                        size = self._fill(container, place, layer, owner)
                        note = Note(key=layer.key, volume=volume, size=size, boot=boot())
                        with self._lock:
                            replace_file(self._path(layer.key), msgspec.json.encode(note))
                            self._hold(attempt, volume)
                        made[layer.key] = volume
            except BaseException:
                for volume in volumes:
                    if volume not in made.values():
                        with suppress(Exception):  # the sweep removes it
                            self._engine.delete(f"/volumes/{volume}")
                raise
        return made

    def _fill(self, container: str, place: str, layer: Layer, owner: Owner) -> int:
        """Returns the layer's size on disk."""
        archive = LayerArchive(layer.archive, owner)
        self._engine.put_archive(container, place, archive.pieces)
        if archive.leaving:
            self._engine.put_archive(container, "/", lambda: archive.leaving.archive(place, owner))
        return archive.size

    # eviction

    def unneeded(self, there: Iterable[str], used: Collection[str]) -> set[str]:
        """Of the volumes and helpers `there` on the engine, by name, those that the caller is to remove.

        These are half-made and expired layers, and those above the limit, but none of `used`, which containers use.
        """
        under_way = tuple(self.helpers.under_way())  # before the notes are read: what is noted later is in here
        with self._lock:
            busy = {*used, *(one for held in self._holders.values() for one in held)}
        oldest = 0.0 if self._keep_for is None else time.time() - self._keep_for
        notes = self._notes()
        dropped = self._drop([note for at, note in notes if at < oldest or note.boot != boot()], used)
        rest = [one for one in notes if one[1].volume not in dropped]
        dropped |= self._drop(_above(rest, self._limit), used)
        kept = {note.volume for _, note in rest} - dropped
        return {one for one in there if one not in busy | kept and not one.startswith(under_way)}

    def _trim_above_limit(self) -> None:
        notes = self._notes()
        if _above(notes, self._limit):
            self._evict(notes, self._limit)

    def discard(self, keys: Collection[str]) -> None:
        """Removes layers that no later job needs, unless they are in use: then the limit removes them some day.

        Raises EngineError, EngineUnavailable.
        """
        self._remove(note for _, note in self._notes() if note.key in keys)

    def _evict(self, notes: Sequence[tuple[float, Note]], limit: int) -> int:
        """Removes the least recently used layers above a limit. Returns their number."""
        return self._remove(_above(notes, limit))

    def _remove(self, notes: Iterable[Note]) -> int:
        """Removes those of these layers that nobody uses. Returns their number."""
        gone = 0
        for volume in self._drop(notes, self._used()):
            try:
                gone += self._engine.delete(f"/volumes/{volume}")
            except EngineError as error:  # the sweep tries again
                logger.warning("the layer %s can't be removed: %s", volume, error.message)
        return gone

    def _drop(self, notes: Iterable[Note], used: Collection[str]) -> set[str]:
        """Removes the notes of those layers that nobody uses, and returns their volumes."""
        dropped: set[str] = set()
        with self._lock:
            held = {one for held in self._holders.values() for one in held}
            for note in notes:
                if note.volume not in held and note.volume not in used:
                    with suppress(OSError):
                        self._path(note.key).unlink(missing_ok=True)
                        dropped.add(note.volume)
        return dropped

    def _used(self) -> set[str]:
        """Layers that the worker's containers use."""
        wanted = [f"{key}={self._labels[key]}" for key in (COORDINATOR, WORKER)]
        query: dict[str, str | int] = {"filters": msgspec.json.encode({"label": wanted}).decode(), "all": 1}
        answer = self._engine.call("GET", "/containers/json", query=query)
        return {layer for one in answer for layer in layers_of(labels_of(one))}

    def _notes(self) -> list[tuple[float, Note]]:
        """All notes with the times of their last use."""
        notes = []
        for path in self._directory.glob("*.json"):
            with suppress(OSError):
                at = path.stat().st_mtime
                if note := _read(path):
                    notes.append((at, note))
                else:
                    path.unlink()
        return notes

    def _path(self, key: str) -> Path:
        return self._directory / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"


def _above(notes: Sequence[tuple[float, Note]], limit: int) -> list[Note]:
    """The least recently used layers that have to go to keep a limit."""
    total = sum(note.size for _, note in notes)
    above: list[Note] = []
    if total > limit:
        for _, note in sorted(notes, key=lambda one: one[0]):
            if total <= limit * EVICT_DOWN_TO:
                break
            above.append(note)
            total -= note.size
    return above


def _read(path: Path) -> Note | None:
    """A note; None if it is absent or damaged."""
    try:
        return from_json(path.read_bytes(), Note)
    except (OSError, msgspec.MsgspecError):
        return None

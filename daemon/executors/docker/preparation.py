"""Creates one attempt's container: its image, services, network, and the workspace in it.

May be repeated, also by another daemon: an existing container is used.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any
from uuid import uuid4

import msgspec

from daemon.executors.base import Checkout
from daemon.executors.common.environment import Environment
from daemon.executors.common.script import Scripts, Style, scripts_of
from daemon.executors.common.script_limits import is_true
from daemon.executors.docker.api_client import Created, NameTaken, labels_of
from daemon.executors.docker.belongings import ATTEMPT, COORDINATOR, KEEP, LEASE, NETWORK, ROLE, WORKER
from daemon.executors.docker.container import JobContainer, words_of
from daemon.executors.docker.container_spec import job_container
from daemon.executors.docker.container_user import is_root, owner_of
from daemon.executors.docker.files.job_cache import JobCaches, file_keys_of
from daemon.executors.docker.images import Image, login_of, name_explained, no_image
from daemon.executors.docker.logs import stored
from daemon.executors.docker.services import Services
from daemon.tar_stream import BadArchive

FILE_KEYS_LABEL = "longshore.cache-keys"
JOB_LABEL = "longshore.job-digest"


def prepare(container: JobContainer, checkout: Checkout | None, known: Environment) -> None:
    """Creates the container with image and services as resolved by the `known` variables, and its files.

    Raises JobFailed, EngineError, EngineUnavailable, BadArchive.
    """
    spec, site, files = container.spec, container.site, container.files
    name = known.expand(spec.name) or container.assignment.default_image
    if not name:
        raise no_image(spec.name, known.values)
    with name_explained(spec.name, known.values):
        image = site.images.ensure(name, spec.pull_policy, spec.platform, login_of(known))
    container.entrypoint = words_of(image.entrypoint if spec.entrypoint is None else spec.entrypoint)
    user = known.expand(spec.user) if spec.user else image.user
    caches = _caches(container, file_keys_of(container.assignment.job.caches, checkout))
    _lay_out(container, checkout, caches, known, image, user)
    services = container.services(known)
    if services:
        services.start()
    scripts = _scripts(container)
    initial = {**container.early.files, **scripts.files}
    small = None
    copied = checkout if container.project.view is None else None
    if copied and not initial and not container.entrypoint and is_root(user):
        small = site.unpackers.text(copied.tar(), opened=files.opened)
    brings = small if small and site.unpackers.can(image) else None
    ground = bool(
        initial
        or services
        or not is_root(user)
        or (files.opened and container.entrypoint)
        or container.project.is_operators
    )
    opens = files.opened and not brings and not ground
    if _create(container, image, checkout, caches, services, scripts, brings, opens=opens):
        container.fresh = True
        files.owner = owner_of(container.engine, container.key, user)
        if ground:
            files.lay_ground(initial)
        if copied and not brings:
            files.lay_workspace(copied.tar())
            if small:
                site.unpackers.learn(image, container.key)
        elif checkout and not copied:
            files.note_view(checkout)
        if container.project.links:
            files.note_links(container.project.links)
    if services:
        services.await_ready()
        container.warnings += services.warnings


def caches_of(container: JobContainer) -> JobCaches | None:
    """The job's caches, with the keys from files that `prepare` has noted in a label; None if it has none."""
    if not container.assignment.job.caches:
        return None
    return _caches(container, json.loads(labels_of(container.inspect()["Config"])[FILE_KEYS_LABEL]))


def _caches(container: JobContainer, file_keys: Sequence[str]) -> JobCaches:
    assignment = container.assignment
    return JobCaches(container.site.caches, assignment.project, assignment.job.caches, file_keys)


def _lay_out(
    container: JobContainer, checkout: Checkout | None, caches: JobCaches, known: Environment, image: Image, user: str
) -> None:
    """Lays out the project directory, with the caches that there are now. A damaged one causes a warning."""
    found = caches.find(known)
    try:
        container.project.lay_out(checkout, found, image, user)
    except (BadArchive, OSError) as error:
        if len(caches.sound(found)) == len(found):
            raise
        container.warnings.append(f"a cache is skipped: {error}")
        container.project.lay_out(checkout, caches.find(known), image, user)


def _scripts(container: JobContainer) -> Scripts:
    variables = container.early.values
    style = Style(
        trace=is_true(variables.get("CI_DEBUG_TRACE", "")),
        sections=is_true(variables.get("FF_SCRIPT_SECTIONS", "")),
        checks=is_true(variables.get("FF_ENABLE_BASH_EXIT_CODE_CHECK", "")),
    )
    return scripts_of(container.assignment.job, container.assignment.project_dir, style)


def _create(
    container: JobContainer,
    image: Image,
    checkout: Checkout | None,
    caches: JobCaches,
    services: Services | None,
    scripts: Scripts,
    brings: str | None,
    *,
    opens: bool,
) -> bool:
    """Creates the container, unless a started one exists. `brings` is a workspace that it unpacks itself.

    `opens`: it makes the project's directory writable for all its users. Returns whether the container is new, so
    its files must still be unpacked.
    """
    assignment, spec, site = container.assignment, container.spec, container.site
    job = assignment.job
    digest = hashlib.sha256(msgspec.json.encode((assignment.run, job))).hexdigest()
    own_labels = {**container.labels, **container.project.labels, ROLE: "job", JOB_LABEL: digest}
    labels = {LEASE: "", KEEP: "", **own_labels}  # all of them, to override the image's own
    if job.caches:
        labels[FILE_KEYS_LABEL] = json.dumps(caches.file_keys)
    container.files.note(checkout)
    query = {"name": container.name} | ({"platform": spec.platform} if spec.platform else {})

    def keep(there: Mapping[str, Any]) -> bool:
        """Not another job's, of a recreated coordinator; nor one whose files are unknown."""
        started = there["State"]["Status"] != "created"
        return bool(started and labels_of(there["Config"]).get(JOB_LABEL) == digest)

    own = services is not None or spec.platform is not None
    with nullcontext() if own else container.network.joining(image.id, assignment.to_come) as holder:
        labels[NETWORK] = holder.name if holder else ""
        body = job_container(
            assignment,
            spec,
            container.early,
            network=f"container:{holder.id}" if holder else services.network if services else "bridge",
            labels=labels,
            log_driver=stored.job_log_driver(site.max_log_bytes),
            policy=site.policy,
            scripts=scripts,
            entrypoint=container.entrypoint,
            binds=services.binds if services else container.project.binds,
            aliases=services.job_aliases if services else (),
            workspace=brings,
            opens=opens,
        )
        body["Image"] = image.name
        created = _create_apart(container, query, body, keep)
        container.adopt(created.id)
        if created.made:
            container.network.joined()
        return created.made


def _create_apart(
    container: JobContainer, query: dict[str, str], body: Mapping[str, Any], keep: Callable[[Mapping[str, Any]], bool]
) -> Created:
    """Creates it under another name if an unrelated container has this one."""
    owned = partial(_has, container.labels)
    try:
        return container.engine.create(query, body, keep, owned)
    except NameTaken as taken:
        container.warnings.append(taken.message)
        query = {**query, "name": f"{container.name}-{uuid4().hex[:8]}"}
        return container.engine.create(query, body, keep, owned)


def _has(own: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether `labels` belong to the same attempt of the same worker."""
    return all(labels.get(key) == own[key] for key in (COORDINATOR, WORKER, ATTEMPT))

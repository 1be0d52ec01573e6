"""The facts of a commit, from a repository without files: its objects are a mirror's, its refs those of a clone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pipeline.git_repository import Repository
from pipeline.predefined_variables import of_pipeline
from pipeline.variables import fixed
from protocol.plan import Variable
from protocol.projects import ProjectSpec, TriggerSpec
from protocol.workspace import MOST_CHANGES, Changes
from team.mirrors import Mirror
from team.variables import given, of_trigger

REMOTE = "refs/remotes/origin/"
CONFIG = """[core]
\trepositoryformatversion = {version}
\tbare = false
{extension}"""


def facts(
    mirror: Mirror, folder: Path, commit: str, trigger: TriggerSpec, project: ProjectSpec, file: str
) -> list[Variable]:
    """The predefined variables of the run of a commit. `folder` is an empty directory for this alone."""
    _make(mirror, folder / ".git", commit, project.url)
    default_branch = project.default_branch or mirror.refs.default_branch
    repository = Repository(folder, whole=True, path=project.name)
    kind = given(trigger)
    return fixed(of_pipeline(repository, file, kind) | kind | of_trigger(trigger, project, default_branch))


def _make(mirror: Mirror, directory: Path, commit: str, url: str) -> None:
    """Writes a git directory by hand: a process for each ref would take seconds."""
    refs = mirror.refs
    for name in ("objects/info", f"{REMOTE}"):
        (directory / name).mkdir(parents=True)
    extension = "[extensions]\n\tobjectFormat = sha256\n" if refs.object_format == "sha256" else ""
    quoted = url.replace("\\", "\\\\").replace('"', '\\"')
    remote = f'[remote "origin"]\n\turl = "{quoted}"\n' if url else ""
    (directory / "config").write_text(CONFIG.format(version=int(bool(extension)), extension=extension + remote))
    (directory / "objects/info/alternates").write_text(f"{mirror.path / 'objects'}\n")
    lines = [f"{id} {REMOTE}{name}\n" for name, id in refs.branches.items()]
    lines += [f"{id} refs/tags/{name}\n" for name, id in refs.tags.items()]
    (directory / "packed-refs").write_text("".join(lines), encoding="utf-8", errors="surrogateescape")
    if refs.default_branch:
        (directory / f"{REMOTE}HEAD").write_text(
            f"ref: {REMOTE}{refs.default_branch}\n", encoding="utf-8", errors="surrogateescape"
        )
    (directory / "HEAD").write_text(f"{commit}\n")


def changes(mirror: Mirror, commit: str, trigger: TriggerSpec, variables: Mapping[str, str]) -> Changes | None:
    """The files that count as changed; None if all do, as for a new branch, a tag or a schedule."""
    target = variables.get("CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "")
    if target:
        request = trigger.merge_request
        tip = mirror.refs.branches.get(target) or (request.target_sha if request else "")
        base = mirror.merge_base(tip, commit) if tip else ""
    elif trigger.source == "push" and not trigger.tag:
        base = mirror.commit(trigger.before_sha)
    else:
        return None
    found = mirror.changed(base, commit) if base else None
    if found is None or len(found) > MOST_CHANGES:
        return None
    return Changes(compared_to=target, paths=sorted(found))

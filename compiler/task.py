"""One compilation, step by step: the snapshot's packs are indexed, the process gives up all other rights, then the
child's file is read. A bad file, a bad snapshot and exhausted memory are answers; whatever else happens ends the
process, which the coordinator sees.
"""

from __future__ import annotations

import errno
import shutil
import traceback
from pathlib import Path
from uuid import uuid4

import msgspec

from compiler import confinement
from compiler.changes import NoHistory, SnapshotHistory, tree_of
from compiler.fetched import FetchedProjects, NoProjects
from compiler.fetcher import start
from compiler.files import GitFiles, NoFiles, SnapshotFiles, TarFiles, artifact
from daemon.checkouts.git import BadWorkspace, BareRepository, Processes
from daemon.checkouts.objects import Objects
from daemon.checkouts.snapshot import Repository, Snapshot, read_manifest
from daemon.checkouts.store import CheckoutStores, StoredWorkspace
from daemon.tar_stream import BadArchive
from pipeline.child import ChildSubject
from pipeline.commit import CommitSubject
from pipeline.compiler import compile_subject
from pipeline.downstream import DownstreamSubject
from pipeline.includes.fetching import OtherProjects
from pipeline.includes.lock_file import lock_path, parse_lock
from pipeline.rules import History
from pipeline.subject import Subject
from protocol.compilation import (
    Answer,
    AnyAnswer,
    ChildRequest,
    Compiled,
    CompileTask,
    MirroredCommit,
    NotCompiled,
    needs_memory,
)
from protocol.errors import LongshoreError, PipelineFileError
from protocol.workspace import GitWorkspace, Pack, RepositoryManifest, TarWorkspace

WRITTEN_BESIDE = 1 << 30
"""Bytes that a file of the store may have beyond the workspace's: thin packs are completed."""


def answer_to(task: CompileTask) -> bytes:
    """Compiles a child pipeline; confines the process for good. Returns the encoded answer."""
    try:
        return _encoded(_compiled(task))
    except PipelineFileError as error:
        problems, defect = [str(problem) for problem in error.problems], ""
    except (LongshoreError, BadWorkspace, BadArchive) as error:
        problems, defect = [str(error)], ""
    except (MemoryError, SystemError):  # the latter from extensions that lose the former
        confinement.raise_memory()
        problems, defect = [needs_memory(task.bounds)], ""
    except OSError as error:
        problem = f"the coordinator can't compile the pipeline: {error}"
        problems, defect = [needs_memory(task.bounds) if error.errno == errno.ENOMEM else problem], ""
    except Exception as error:
        problem = f"Longshore failed to compile the pipeline: {type(error).__name__}: {error}"
        problems, defect = [problem], traceback.format_exc()
    return _encoded(NotCompiled(problems=problems, defect=defect))


def _encoded(answer: Answer) -> bytes:
    return msgspec.msgpack.encode(AnyAnswer(answer=answer))


def _compiled(task: CompileTask) -> Answer:
    workspace, commit = task.request.workspace, task.request.commit
    size = task.request.workspace_bytes
    if (commit or isinstance(workspace, GitWorkspace)) and shutil.which("git") is None:
        raise LongshoreError(
            "the coordinator's host has no git, which reads the project's files: install it there (apt-get install git)"
        )
    confinement.limit_life(task.bounds.seconds_for(task))
    fetcher = _fetcher(task)
    confinement.limit(task.bounds, indexed=size, written=size + WRITTEN_BESIDE)
    store, scratch = Path(task.store), Path(task.scratch)
    blobs = {digest: Path(path) for digest, path in task.blobs.items()}
    confinement.forbid_sockets()
    if commit is not None:
        return _of_commit(task, commit, fetcher)
    confinement.confine_files(blobs.values(), (store, scratch))
    if isinstance(workspace, GitWorkspace):
        stored = _stored(task, workspace, blobs, scratch)
        view = stored.source.view()
        confinement.confine_files([view.path, *blobs.values()])
        with Objects(view) as objects:
            manifest, _ = read_manifest(objects, workspace)
            # The client has found out what has changed for children of its own run.
            changes = None if task.request.trigger.project else manifest.changes
            history = SnapshotHistory(objects, stored.snapshot, workspace.depth, changes)
            return _answer(task, GitFiles(objects, stored.snapshot), history, blobs, fetcher)
    confinement.confine_files(blobs.values())
    files = TarFiles(blobs[workspace.digest]) if isinstance(workspace, TarWorkspace) else NoFiles()
    return _answer(task, files, NoHistory(), blobs, fetcher)


def _of_commit(task: CompileTask, commit: MirroredCommit, fetcher: OtherProjects) -> Answer:
    mirror = Path(commit.repository)
    confinement.confine_files([mirror])
    with Objects(BareRepository(mirror, Processes())) as objects:
        tree = tree_of(objects, commit.commit)
        manifest = RepositoryManifest(head=commit.commit, refs=commit.refs)
        snapshot = Snapshot([Repository(manifest, tree, b"", b".git", 0)], frozenset())
        files = GitFiles(objects, snapshot)
        if files.read(task.request.file) is None:
            return NotCompiled(problems=[f"the commit has no {task.request.file}"], nothing_to_run=True)
        history = SnapshotHistory(objects, snapshot, 0, commit.changes)
        return _answer(task, files, history, {}, fetcher)


def _fetcher(task: CompileTask) -> OtherProjects:
    if task.includes is None:
        return NoProjects()
    origin = task.request.known("CI_REPOSITORY_URL")
    return FetchedProjects(start(task.includes, Path(task.cache), origin, task.request.includes))


def _stored(task: CompileTask, workspace: GitWorkspace, blobs: dict[str, Path], scratch: Path) -> StoredWorkspace:
    """The workspace in the store, which has one directory per project; its packs are copied, then indexed."""
    copies = scratch / "packs"

    def fetch(pack: Pack) -> Path:
        # A copy: what the store makes of a pack may share its inode, and the coordinator's blobs must never change.
        copies.mkdir(exist_ok=True)
        return Path(shutil.copyfile(blobs[pack.digest], copies / uuid4().hex))

    stores = CheckoutStores(Path(task.store), task.store_bytes, task.store_seconds)
    stores.trim()
    stored = stores.workspace(workspace, task.request.known("CI_PROJECT_PATH"), fetch, scratch / "pins")
    shutil.rmtree(copies, ignore_errors=True)
    return stored


def _answer(
    task: CompileTask,
    files: SnapshotFiles,
    history: History,
    blobs: dict[str, Path],
    projects: OtherProjects,
) -> Answer:
    request = task.request

    def artifact_of(job: str, path: str) -> bytes:
        return artifact([blobs[ref.digest] for ref in request.archives.get(job, ())], path, job)

    subject: Subject
    if request.commit is not None:
        subject = CommitSubject(request.file, files, history, request.predefined)
    elif request.trigger.project:
        subject = DownstreamSubject(
            request.file,
            request.run,
            request.upstream_project,
            request.job_id,
            request.trigger,
            files,
            history,
            request.predefined,
            request.project_variables,
        )
    else:
        subject = ChildSubject(
            request.file,
            request.run,
            request.job,
            request.job_id,
            request.trigger,
            files,
            history,
            request.predefined,
            request.project_variables,
            artifact_of,
        )
    generated = not request.trigger.project and (
        request.includes.generated or any(each.artifact for each in request.trigger.include)
    )
    lock_file = _lock(projects, files, request.file, generated)
    compiled = compile_subject(subject, request.variables, projects=projects, name=_files_of(request))
    if not compiled.plan.jobs:
        why = compiled.left_out or "its rules exclude all jobs"
        problem = f"{_files_of(request)}: the pipeline has nothing to run: {why}"
        return NotCompiled(problems=[problem], nothing_to_run=True)
    includes = msgspec.structs.replace(request.includes, generated=generated)
    plan = msgspec.structs.replace(compiled.plan, default_image=request.default_image, includes=includes)
    unlocked = projects.unlocked if isinstance(projects, FetchedProjects) else ()
    warnings = [
        *map(str, compiled.warnings),
        *(f"{key} is not in {lock_file}: the includes of a generated pipeline can't be locked" for key in unlocked),
    ]
    return Compiled(plan=plan, warnings=warnings)


def _lock(projects: OtherProjects, files: SnapshotFiles, pipeline_file: str, generated: bool) -> str:
    """Holds includes to the versions of the lock file of the parent's pipeline file, whose name is returned.

    A lock file can have no includes of a `generated` pipeline but those that others have too. Raises PipelineFileError.
    """
    if not pipeline_file or not isinstance(projects, FetchedProjects):
        return ""
    path = str(lock_path(Path(pipeline_file)))
    data = files.read(path)
    if data is not None:
        projects.lock(parse_lock(data, path), path, open=generated)
    return path


def _files_of(request: ChildRequest) -> str:
    """The files of the pipeline, for messages about all of them."""
    trigger = request.trigger
    if request.commit is not None:
        return request.file
    if trigger.project:
        return f"{trigger.project}:{request.file}"
    return ", ".join(
        each.local or each.artifact or each.file or each.template or each.remote or each.component
        for each in trigger.include
    )

"""A snapshot's tree, read and checked: its manifest, and the trees of its repositories."""

from __future__ import annotations

from fnmatch import fnmatchcase

import msgspec

from daemon.checkouts import git, trees
from daemon.checkouts.git import BadWorkspace
from daemon.checkouts.objects import FORBIDDEN, SUBMODULE, TREE, Objects, kind, os_text
from daemon.checkouts.trees import Totals
from daemon.executors.base import CheckoutOptions
from protocol.decoders import from_msgpack
from protocol.workspace import MANIFEST, STAGED, GitWorkspace, Manifest, RepositoryManifest, is_branch, is_ref

LARGEST_MANIFEST = 64 << 20
MOST_REPOSITORIES = 1000
MOST_REFS = 100_000
TAGS = b"refs/tags/"
REFS = (b"refs/remotes/origin/", TAGS)
SUBMODULE_REFS = (*REFS, b"refs/heads/")
DEFAULT_BRANCH = b"main"
NOTHING = Totals(0, 0, 0)


class Repository(msgspec.Struct):
    """One repository of a snapshot: its manifest, the id of its files' tree, and its place in the project directory.

    `top` and `git_dir` are relative to the project directory; `level` is 0 for the project's own repository.
    """

    manifest: RepositoryManifest
    tree: str
    top: bytes
    git_dir: bytes
    level: int
    totals: Totals = NOTHING

    @property
    def prefix(self) -> bytes:
        """What the paths of its files begin with."""
        return self.top + b"/" if self.top else b""

    @property
    def branch(self) -> bytes:
        """The checked-out branch."""
        return self.manifest.branch.encode("utf-8", "surrogateescape") or DEFAULT_BRANCH


class Snapshot(msgspec.Struct):
    """The repositories of a snapshot, each after its parent, and the ids of the blobs that only indexes refer to."""

    repositories: list[Repository]
    staged: frozenset[str]

    def chosen(self, options: CheckoutOptions) -> list[Repository]:
        """The repositories that a job wants, each after its parent."""
        chosen = [0]
        if options.files and options.submodules != "none":
            for number, one in enumerate(self.repositories[1:], 1):
                within = one.manifest.parent in chosen and (one.level == 1 or options.submodules == "recursive")
                if within and (one.level > 1 or _matches(one.top, options.submodule_paths)):
                    chosen.append(number)
        return [self.repositories[number] for number in chosen]


def _matches(path: bytes, specs: tuple[str, ...]) -> bool:
    """Whether git's pathspecs choose a submodule."""
    name = path.decode("utf-8", "surrogateescape")
    wanted = [spec for spec in specs if not _excludes(spec)]
    return (not wanted or any(_fits(name, spec) for spec in wanted)) and not any(
        _fits(name, excluded) for spec in specs if (excluded := _excludes(spec))
    )


def _excludes(spec: str) -> str:
    """What a pathspec excludes; empty for one that includes."""
    for magic in (":(exclude)", ":!", ":^"):
        if spec.startswith(magic):
            return spec[len(magic) :]
    return ""


def _fits(name: str, spec: str) -> bool:
    spec = spec.removeprefix("./").rstrip("/")
    return spec in ("", ".") or name == spec or name.startswith(f"{spec}/") or fnmatchcase(name, spec)


def read_manifest(objects: Objects, ref: GitWorkspace) -> tuple[Manifest, dict[bytes, str]]:
    """A snapshot's manifest, and the ids of the trees beside it, by name. Raises BadWorkspace."""
    parts = {name: (mode, key) for mode, name, key in objects.tree(ref.snapshot)}
    mode, key = parts.pop(MANIFEST.encode(), (0, ""))
    if not mode:
        raise BadWorkspace("its snapshot has no manifest")
    try:
        data = next(objects.read([key], "blob", LARGEST_MANIFEST))
        manifest = from_msgpack(data, Manifest)
    except msgspec.MsgspecError as error:
        raise BadWorkspace(f"its manifest can't be read: {error}") from None
    count = len(manifest.repositories)
    if not 0 < count <= MOST_REPOSITORIES:
        raise BadWorkspace(f"its manifest has {count} repositories; 1 to {MOST_REPOSITORIES} are allowed")
    allowed = {STAGED.encode(), *(b"%d" % number for number in range(count))}
    for name, (mode, _) in parts.items():
        if name not in allowed or kind(mode) != TREE:
            raise BadWorkspace(f"its snapshot has an unknown part {os_text(name)}")
    return manifest, {name: key for name, (_, key) in parts.items()}


def verify(objects: Objects, ref: GitWorkspace, known: dict[str, Totals]) -> Snapshot:
    """Reads a snapshot completely, with the trees of its repositories. Raises BadWorkspace.

    `known` are trees that were found to be sound before, with their totals; trees that are read are added.
    """
    manifest, parts = read_manifest(objects, ref)
    snapshot = placed(manifest, parts, staged_of(objects, parts))
    if known:  # sound, but are they in these packs?
        objects.repository.run("rev-list", "--objects", "--quiet", "--stdin", told=git.lines([ref.snapshot]))
    entries = size = 0
    for number, one in enumerate(snapshot.repositories):
        known |= trees.measure(objects, one.tree, known)
        one.totals = known[one.tree]
        entries, size = entries + one.totals.entries, size + one.totals.bytes
        trees.check_totals(Totals(entries, size, len(one.prefix) + one.totals.longest))
        _check(objects, snapshot.repositories, number)
    objects.sizes(snapshot.staged)
    return snapshot


def staged_of(objects: Objects, parts: dict[bytes, str]) -> frozenset[str]:
    """The ids of the staged blobs."""
    key = parts.get(STAGED.encode())
    return frozenset(one for _, _, one in objects.tree(key)) if key else frozenset()


def placed(manifest: Manifest, parts: dict[bytes, str], staged: frozenset[str]) -> Snapshot:
    """The repositories with their places. Raises BadWorkspace."""
    found: list[Repository] = []
    for number, one in enumerate(manifest.repositories):
        tree = parts.get(b"%d" % number)
        if tree is None:
            raise BadWorkspace(f"its snapshot has no tree of repository {number}")
        if number == 0:
            if one.path or one.name:
                raise BadWorkspace("its manifest begins with a submodule")
            found.append(Repository(one, tree, b"", b".git", 0))
            continue
        if not 0 <= one.parent < number:
            raise BadWorkspace(f"its manifest has a submodule {os_text(one.path)} before its parent")
        parent = found[one.parent]
        check_path(one.path)
        check_path(one.name)
        top = parent.prefix + one.path
        found.append(Repository(one, tree, top, parent.git_dir + b"/modules/" + one.name, parent.level + 1))
    for what in ([one.top for one in found[1:]], [one.git_dir for one in found[1:]]):
        if len(set(what)) != len(what):
            raise BadWorkspace("its manifest has two submodules of one path or name")
    places = {each.git_dir for each in found}
    for each in found[1:]:
        name = each.manifest.name
        modules = each.git_dir.removesuffix(name)
        if places.intersection(modules + above for above in _above(name)):
            raise BadWorkspace(f"its submodule {os_text(name)} has a name within that of another one")
    return Snapshot(found, staged)


def _check(objects: Objects, repositories: list[Repository], number: int) -> None:
    """Checks what one repository's manifest says against its files."""
    one = repositories[number]
    manifest = one.manifest
    children = [each for each in repositories[1:] if repositories[each.manifest.parent] is one]
    inner = [each.manifest.path for each in children]
    for path in inner:
        found = trees.look_up(objects, one.tree, path)
        if found is None or (found[0] and kind(found[0]) != SUBMODULE):
            raise BadWorkspace(f"its submodule {os_text(path)} is in the place of other files")
        if set(_above(path)).intersection(inner):
            raise BadWorkspace(f"its submodule {os_text(path)} is within another one")
    for path in manifest.empty:
        check_path(path)
        found = trees.look_up(objects, one.tree, path)
        if found is None or (found[0] and kind(found[0]) not in (SUBMODULE, TREE)):
            raise BadWorkspace(f"its directory {os_text(path)} is in the place of a file")
        if set(_above(path)).intersection(inner):
            raise BadWorkspace(f"its directory {os_text(path)} is within a submodule")
    if len(manifest.refs) > MOST_REFS:
        raise BadWorkspace(f"it has more than {MOST_REFS} refs")
    for name in manifest.refs:
        if not name.startswith(SUBMODULE_REFS if manifest.name else REFS) or not is_ref(name):
            raise BadWorkspace(f"it has a ref {os_text(name)}, which is neither a branch nor a tag")
    if not is_branch(one.branch):
        raise BadWorkspace(f"it has a branch {os_text(one.branch)}")
    if "\0" in manifest.url or any(ord(letter) < 0x20 for letter in manifest.url):
        raise BadWorkspace("the address of its remote has control characters")
    for entry in manifest.index:
        check_path(entry.path)
        if entry.mode and (entry.id is None or not 0 <= entry.stage <= 3 or entry.mode not in INDEX_MODES):
            raise BadWorkspace(f"its index has a bad entry {os_text(entry.path)}")


INDEX_MODES = (0o100644, 0o100755, 0o120000, 0o160000)


def check_path(path: bytes) -> None:
    """Refuses a path that is not within the project directory, or within a `.git`."""
    parts = path.split(b"/")
    if b"\0" in path or any(not part or part.lower() in FORBIDDEN or len(part) > 255 for part in parts):
        raise BadWorkspace(f"its manifest has the path {os_text(path)}, which is not allowed in a project directory")
    if len(path) > trees.LONGEST_PATH:
        raise BadWorkspace(f"its manifest has a path of {len(path)} bytes")


def _above(path: bytes) -> list[bytes]:
    """A path's parent directories."""
    parts = path.split(b"/")
    return [b"/".join(parts[:end]) for end in range(1, len(parts))]

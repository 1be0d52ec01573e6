"""Checkouts in layers made by hand: each is a dict of files by name, as a later snapshot lies on an earlier one."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from daemon.executors.base import Checkout, CheckoutOptions, Layer, Workspace
from daemon.executors.docker.layers.project_directory import VIEW_BYTES

Content = str | None
"""A file's content, or `-> TARGET` for a symbolic link; None removes what lower layers have of the name."""


def layer_tar(files: Mapping[str, Content], owner: tuple[int, int], *, opened: bool) -> bytes:
    """The tar of a layer; a name that ends in `/` is a directory."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        made: set[str] = set()
        for name, content in files.items():
            parts = name.rstrip("/").split("/")
            above = ["/".join(parts[: end + 1]) for end in range(len(parts) - 1)]
            for directory in [*above, *([name.rstrip("/")] if name.endswith("/") else [])]:
                if directory not in made:
                    made.add(directory)
                    tar.addfile(_info(directory, tarfile.DIRTYPE, 0o777 if opened else 0o755, owner))
            if name.endswith("/"):
                continue
            if content is None:
                tar.addfile(_info(name, tarfile.CHRTYPE, 0, owner))
            elif content.startswith("-> "):
                link = _info(name, tarfile.SYMTYPE, 0o777, owner)
                link.linkname = content.removeprefix("-> ")
                tar.addfile(link)
            else:
                info = _info(name, tarfile.REGTYPE, 0o666 if opened else 0o644, owner)
                info.size = len(content.encode())
                tar.addfile(info, io.BytesIO(content.encode()))
    return out.getvalue()


def _info(name: str, kind: bytes, mode: int, owner: tuple[int, int]) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode = kind, mode
    info.uid, info.gid = owner
    return info


@dataclass(frozen=True, slots=True)
class Layered(Workspace, Checkout):
    """A workspace of these layers, lowest first, and the only checkout of it. It claims to be `size` bytes large.

    `folder` is for its tar.
    """

    folder: Path
    stack: Sequence[Mapping[str, Content]]
    size: int = VIEW_BYTES

    def checkout(self, options: CheckoutOptions) -> Checkout:
        """See Workspace."""
        return self

    def _merged(self) -> dict[str, Content]:
        merged: dict[str, Content] = {}
        for layer in self.stack:
            for name, content in layer.items():
                if content is None:
                    merged = {each: text for each, text in merged.items() if f"{each}/".find(f"{name}/") != 0}
                else:
                    merged[name] = content
        return merged

    def names(self) -> frozenset[str]:
        """See Checkout."""
        found = {name.rstrip("/") for name in self._merged()}
        return frozenset(found | {name[:end] for name in found for end, char in enumerate(name) if char == "/"})

    def hashes(self, wanted: Callable[[str], bool]) -> dict[str, str]:
        """See Checkout."""
        return {
            name: hashlib.sha256((text or "").encode()).hexdigest()
            for name, text in self._merged().items()
            if wanted(name)
        }

    def tar(self) -> Path:
        """See Checkout."""
        path = self.folder / "checkout.tar"
        path.write_bytes(layer_tar(self._merged(), (0, 0), opened=False))
        return path

    def layers(self, owner: tuple[int, int], *, opened: bool) -> Sequence[Layer]:
        """See Checkout."""

        def layer(files: Mapping[str, Content]) -> Layer:
            data = layer_tar(files, owner, opened=opened)

            def archive() -> Iterator[bytes]:
                yield data

            return Layer(hashlib.sha256(data).hexdigest(), len(data), archive)

        return [layer(files) for files in self.stack]

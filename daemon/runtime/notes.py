"""Small files that other processes may read at any moment."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4


def replace_file(path: Path, data: bytes) -> None:
    """Writes a file atomically, with its directory if that is missing. Raises OSError."""
    partial = path.with_name(f"{path.name}.{uuid4().hex}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        partial.write_bytes(data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)

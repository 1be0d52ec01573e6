"""Small files that other processes may read at any moment."""

from __future__ import annotations

import os
from pathlib import Path

PRIVATE_FILE = 0o600


def replace_file(path: Path, data: bytes) -> None:
    """Writes a private file atomically, with its directory if that is missing. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.urandom(8).hex()}.part")
    try:
        with open(partial, "xb", opener=lambda name, flags: os.open(name, flags, PRIVATE_FILE)) as file:
            file.write(data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)

"""The interpreter of our processes."""

from __future__ import annotations

import signal
import subprocess
import sys

CRASH = "import ctypes; from cli.process import interpreter; interpreter.begin(); ctypes.string_at(0)"


def test_a_crash_in_a_c_extension_says_where() -> None:
    done = subprocess.run([sys.executable, "-c", CRASH], capture_output=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGSEGV
    assert b"Fatal Python error: Segmentation fault" in done.stderr
    assert b"string_at" in done.stderr

"""Confines this process and all that it starts: Landlock for files and TCP, seccomp for sockets, limits for the rest.

Linux only; where the kernel lacks one of them, the others hold.
"""

from __future__ import annotations

import ctypes
import errno
import importlib
import os
import platform
import resource
import shutil
import signal
import struct
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from protocol.compilation import Bounds

LATE = 5.0
"""Seconds after which the process ends itself if the coordinator has not ended it in time."""
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
"""Landlock's system calls; their numbers are the same on all architectures."""
_ABI_VERSION_FLAG = 1
_PATH_BENEATH = 1
_NO_NEW_PRIVS, _SECCOMP, _SECCOMP_FILTER = 38, 22, 2
"""Operations of prctl, and a mode of seccomp."""
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_TRUNCATE, _IOCTL = 1 << 14, 1 << 15
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL
"""Rights that a rule for a file, rather than a directory, may have."""
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_RIGHTS_BY_ABI = {2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
"""All rights that an ABI version knows; the first one, which can't link between directories, is not used."""
SCOPED = 6
"""The first ABI version that knows scopes."""
_TCP, _SCOPES = 0b11, 0b11
"""Bind and connect; abstract sockets and signals of processes outside."""
_SYSTEM = ("/bin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/usr", "/etc/ld.so.cache", "/dev/urandom")
"""Where programs and libraries are."""
_NULL = "/dev/null"
_AUDIT_ARCH = {"x86_64": (0xC000003E, 41, 53), "aarch64": (0xC00000B7, 198, 199)}
"""Seccomp's id of an architecture, and there the numbers of the system calls socket and socketpair."""
_IO_URING_SETUP = 425
_X32_CALLS = 1 << 30
"""The first number of x86-64's second set of system calls."""
_LOADED = ("compiler", "daemon", "pipeline", "protocol")
"""Packages of Longshore that this process may import late."""
_MEMORY_BESIDE = 64 << 20
"""Bytes beyond the bound and a quarter of it that the process may have until the coordinator kills it: one that is at
its limit may not be able to say so.
"""
_GIT_MEMORY = 8 << 30
"""Limit in bytes of a git process's address space: it maps whole packs. See daemon/checkouts/git.py."""

_libc = ctypes.CDLL(None, use_errno=True)


def limit_life(seconds: float) -> None:
    """Ends the process after so long, soon after the coordinator would: that one may not run any more."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds + LATE)


def limit(bounds: Bounds, *, indexed: int, written: int) -> None:
    """Limits the process's resources; git may map more memory than Python.

    `indexed` are the bytes of packs, which take their time, `written` bounds the size of a file.
    """
    more = indexed // bounds.bytes_per_second
    soft_limit(resource.RLIMIT_AS, bounds.memory_bytes + bounds.memory_bytes // 4 + _MEMORY_BESIDE, _GIT_MEMORY)
    soft_limit(resource.RLIMIT_CPU, bounds.cpu_seconds + more)
    soft_limit(resource.RLIMIT_FSIZE, written)
    soft_limit(resource.RLIMIT_NOFILE, bounds.open_files)
    soft_limit(resource.RLIMIT_CORE, 0)


def raise_memory() -> None:
    """Lifts the limit of memory to that of git's, so that a process which has exhausted its own can still say so."""
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def soft_limit(which: int, value: int, hard: int | None = None) -> None:
    """Lowers a limit; one that is lower already stays."""
    _, most = resource.getrlimit(which)
    unlimited = most == resource.RLIM_INFINITY
    hard = value if hard is None else max(value, hard)
    top = hard if unlimited else min(hard, most)
    resource.setrlimit(which, (min(value, top), top))


def confine_files(read: Iterable[Path], write: Iterable[Path] = ()) -> bool:
    """Allows only these files and directories, with all below them, and the system's programs. False without Landlock.

    Nothing may be done over TCP, nor be sent to processes outside. Confinements add up: a later one takes rights only.
    """
    abi = landlock_version()
    if abi < min(_RIGHTS_BY_ABI):
        return False
    rights = _RIGHTS_BY_ABI[max(known for known in _RIGHTS_BY_ABI if known <= abi)]
    attributes = struct.pack("=QQQ", rights, _TCP if abi >= 4 else 0, _SCOPES if abi >= SCOPED else 0)
    size = 24 if abi >= SCOPED else 16 if abi >= 4 else 8
    ruleset = _libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(size), ctypes.c_uint32(0))
    if ruleset < 0:
        return False
    try:
        for path in [*_program_paths(), *read]:
            _allow(ruleset, path, _READ)
        _allow(ruleset, Path(_NULL), _READ_FILE | _WRITE_FILE)
        for path in write:
            _allow(ruleset, path, rights)
        if not _prctl(_NO_NEW_PRIVS, 1):
            return False
        _check(_libc.syscall(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0)))
    finally:
        os.close(ruleset)
    return True


def landlock_version() -> int:
    """The version of the kernel's Landlock; negative without it."""
    return int(_libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_ABI_VERSION_FLAG)))


def unenforced() -> list[str]:
    """What this host does not enforce on compilations; their own code keeps to it nevertheless."""
    abi = landlock_version()
    found = []
    if abi < min(_RIGHTS_BY_ABI):
        found.append("which files they may read and write")
    if abi < SCOPED:
        found.append("that they may not send signals to the coordinator")
    if not _knows_sockets():
        found.append("that they may not open sockets")
    return found


def _knows_sockets() -> bool:
    return platform.machine() in _AUDIT_ARCH and sys.byteorder == "little" and struct.calcsize("P") == 8


def forbid_sockets() -> bool:
    """Lets the creation of sockets fail, also of those in the file system, and of io_uring, which has its own. False
    where that is not known how.
    """
    if not _knows_sockets():
        return False
    arch, socket, socketpair = _AUDIT_ARCH[platform.machine()]
    load, equal, at_least, give = 0x20, 0x15, 0x35, 0x06
    allow, deny, kill = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x80000000
    tests = [(equal, socket), (equal, socketpair), (equal, _IO_URING_SETUP), (at_least, _X32_CALLS)]
    rules = [(load, 0, 0, 4), (equal, 1, 0, arch), (give, 0, 0, kill), (load, 0, 0, 0)]
    rules += [(test, len(tests) - number, 0, value) for number, (test, value) in enumerate(tests)]
    rules += [(give, 0, 0, allow), (give, 0, 0, deny)]
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *rule) for rule in rules))
    head = ctypes.create_string_buffer(struct.pack("=H6xQ", len(rules), ctypes.addressof(program)))
    return _prctl(_NO_NEW_PRIVS, 1) and _prctl(_SECCOMP, _SECCOMP_FILTER, ctypes.addressof(head))


def _program_paths() -> Sequence[Path]:
    """What Python and git need to run."""
    paths = [Path(path) for path in (*_SYSTEM, sys.prefix, sys.base_prefix, sys.exec_prefix)]
    for name in _LOADED:
        file = importlib.import_module(name).__file__
        if file is not None:
            paths.append(Path(file).parent)
    git = shutil.which("git")
    if git is not None:
        paths.append(Path(git).resolve().parent)
    return paths


def _allow(ruleset: int, path: Path, rights: int) -> None:
    """Adds a rule; none for a path that does not exist."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        allowed = rights if path.is_dir() else rights & _OF_FILES
        rule = struct.pack("=Qi", allowed, descriptor)
        _check(_libc.syscall(_ADD_RULE, ctypes.c_int(ruleset), _PATH_BENEATH, rule, ctypes.c_uint32(0)))
    finally:
        os.close(descriptor)


def _prctl(operation: int, *arguments: int) -> bool:
    values = [ctypes.c_ulong(value) for value in (*arguments, 0, 0, 0, 0)[:4]]
    return bool(_libc.prctl(ctypes.c_int(operation), *values) == 0)


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"the process can't be confined: {os.strerror(number)}")

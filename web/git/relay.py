"""The hook of repositories that Longshore serves: relays a push to the web server, and its answer to whoever pushes.

A program of its own, run by git as `relay.py HOOK`; it imports only the standard library, as each push waits for it.
The web server answers in lines: `=TEXT` to print, `keep` to make the pushed commits readable, `exit STATUS`.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

ALONE = ["env", "-u", "GIT_QUARANTINE_PATH", "git", "-c", "core.hooksPath=/dev/null", "receive-pack"]
"""How the commits of a push that is not accepted yet are pushed to the same repository, under a name of ours."""
GONE = "Longshore: the web server has ended; no run was started. Start one: longshore project run GROUP/NAME --ref REF"


def main() -> int:
    """The exit status decides in `pre-receive` whether the push is accepted."""
    hook = sys.argv[1]
    updates = [line.split(" ", 2) for line in sys.stdin.read().splitlines()]
    count = int(os.environ.get("GIT_PUSH_OPTION_COUNT") or 0)
    options = [os.environ.get(f"GIT_PUSH_OPTION_{number}", "") for number in range(count)]
    push = {"id": os.environ.get("LONGSHORE_PUSH", ""), "hook": hook, "updates": updates, "options": options}
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(os.environ.get("LONGSHORE_SOCKET", ""))
            connection.sendall(json.dumps(push).encode() + b"\n")
            for line in connection.makefile("r", encoding="utf-8", newline="\n"):
                word, _, rest = line.rstrip("\n").partition(" ")
                if word.startswith("="):
                    print(line[1:].rstrip("\n"), file=sys.stderr, flush=True)
                elif word == "keep":
                    kept = all(keep(hook, update[1]) for update in updates if update[1].strip("0"))
                    connection.sendall(b"kept\n" if kept else b"failed\n")
                elif word == "exit":
                    return int(rest)
        except OSError:
            pass
    print(GONE, file=sys.stderr)
    return 1


def keep(hook: str, commit: str) -> bool:
    """Keeps a pushed commit at refs/pushes/COMMIT."""
    ref = f"refs/pushes/{commit}"
    if hook == "pre-receive":
        here = os.path.abspath(os.environ.get("GIT_DIR", "."))
        command = ["git", "push", "--quiet", f"--receive-pack={' '.join(ALONE)}", here, f"{commit}:{ref}"]
    else:
        command = ["git", "update-ref", ref, commit]
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())

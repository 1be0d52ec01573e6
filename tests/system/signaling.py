"""`longshore`, which gets signals just before or after it calls a function for the first time.

`python -m tests.system.signaling MODULE CLASS FUNCTION before|after SIGNAL TIMES ARGUMENT...`
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any


def main() -> None:
    """Runs the command with the remaining arguments."""
    module, owner, name, moment, number, times = sys.argv[1:7]
    del sys.argv[1:7]
    holder = getattr(importlib.import_module(module), owner)
    real = getattr(holder, name)

    def send() -> None:
        for _ in range(int(times)):
            os.kill(os.getpid(), int(number))

    def signaling(*arguments: Any, **named: Any) -> Any:
        if moment == "before":
            send()
        value = real(*arguments, **named)
        if moment == "after":
            send()
        setattr(holder, name, real)
        return value

    setattr(holder, name, signaling)
    from cli.main import main as longshore

    longshore()


if __name__ == "__main__":
    main()

"""`python -m compiler`: reads a `CompileTask` from stdin, writes the answer to stdout, and ends."""

import os
import sys

from compiler.task import answer_to
from protocol.compilation import CompileTask
from protocol.decoders import from_msgpack


def main() -> None:
    """Compiles one child pipeline."""
    task = from_msgpack(sys.stdin.buffer.read(), CompileTask)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nothing else gets between the answers
    with answers:
        answers.write(answer_to(task))


main()

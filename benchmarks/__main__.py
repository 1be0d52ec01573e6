"""`python -m benchmarks`: measures all or selected rows, prints the table, writes JSON and SVG."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.fleet import ROOT, BenchmarkFailed
from benchmarks.harness import Finding, Missing, Scale
from benchmarks.peers import Peers
from benchmarks.plot import write_svg
from benchmarks.report import show, write_json
from benchmarks.rows import COMPARISONS

MESSAGE_LENGTH = 150
OUT = ROOT / "build" / "bench"


def short(message: str) -> str:
    """The end of a long message, for the table."""
    return message if len(message) <= MESSAGE_LENGTH else "..." + " ".join(message[-MESSAGE_LENGTH:].split())


def main() -> int:
    """Exit status 0 if every row has a value or names a missing peer, 1 if one could not be measured."""
    names = [row.name for comparison in COMPARISONS for row in comparison.ROWS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"rows to measure; default: all of {', '.join(names)}")
    parser.add_argument("--scale", type=Scale, default=Scale.FULL, choices=list(Scale), help="full, quick or tiny")
    parser.add_argument("--no-peers", action="store_true", help="neither install nor measure peers")
    parser.add_argument(
        "--out", type=Path, default=OUT, metavar="DIRECTORY", help="output directory of bench.json and bench.svg"
    )
    options = parser.parse_args()
    if unknown := sorted(set(options.rows) - set(names)):
        parser.error(f"unknown row {', '.join(unknown)}; valid: {', '.join(names)}")
    peers = Peers(none=options.no_peers)
    findings: list[Finding] = []
    failed = False
    for comparison in COMPARISONS:
        if options.rows and not any(row.name in options.rows for row in comparison.ROWS):
            continue
        print("measuring:", ", ".join(row.title for row in comparison.ROWS), file=sys.stderr, flush=True)
        try:
            findings += comparison.measure(options.scale, peers)
        except (BenchmarkFailed, Missing) as error:
            failed = True
            print(error, file=sys.stderr)
            findings += [Finding(row, missing=f"could not be measured: {short(str(error))}") for row in comparison.ROWS]
    show(findings)
    options.out.mkdir(parents=True, exist_ok=True)
    write_json(findings, options.scale, options.out / "bench.json")
    write_svg(findings, options.out / "bench.svg")
    print(f"written: {options.out}/bench.json, {options.out}/bench.svg", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

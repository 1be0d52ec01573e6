"""Writes man pages and shell completions made from the commands' own help: `python scripts/manual.py DIRECTORY`.

Used by scripts/wheel.sh. The directory gets the layout of `share/`, below which a wheel installs it. SOURCE_DATE is the
date of the pages, so that equal sources give equal wheels.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click
from click_man.core import generate_man_page

from cli.commands.completion import SHELLS, script
from cli.main import VERBS, cli
from protocol import VERSION

PLACES = {
    "bash": "bash-completion/completions/longshore",
    "zsh": "zsh/site-functions/_longshore",
    "fish": "fish/vendor_completions.d/longshore.fish",
}


def main(share: Path) -> None:
    """Writes all files."""
    pages = share / "man" / "man1"
    pages.mkdir(parents=True, exist_ok=True)
    top = click.Context(cli, info_name="longshore")
    whole = click.Group("longshore", params=cli.params, help=cli.help, short_help="run GitLab-CI pipelines here")
    for name in cli.list_commands(top):
        verb = cli.get_command(top, name)
        assert verb is not None
        verb.short_help = VERBS[name].help
        whole.add_command(verb, name)
    _write(pages / "longshore.1", click.Context(whole, info_name="longshore"))
    for name, verb in whole.commands.items():
        context = click.Context(verb, info_name=name, parent=top)
        _write(pages / f"longshore-{name}.1", context)
        for inner, command in getattr(verb, "commands", {}).items():
            _write(pages / f"longshore-{name}-{inner}.1", click.Context(command, info_name=inner, parent=context))
    for shell in SHELLS:
        path = share / PLACES[shell]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(script(shell))


def _write(path: Path, context: click.Context) -> None:
    path.write_text(generate_man_page(context, version=VERSION, date=os.environ["SOURCE_DATE"]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""The verb `completion`: prints a shell's completion script."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

SHELLS: dict[str, type[ShellComplete]] = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}


@click.command("completion")
@click.argument("shell", type=click.Choice(list(SHELLS)))
def completion_command(shell: str) -> None:
    """Print the completion script of SHELL.

    \b
    bash:  longshore completion bash > ~/.local/share/bash-completion/completions/longshore
    zsh:   longshore completion zsh > DIR/_longshore, with DIR in $fpath
    fish:  longshore completion fish > ~/.config/fish/completions/longshore.fish
    """
    click.echo(script(shell), nl=False)


def script(shell: str) -> str:
    """The completion script of a shell. It calls `longshore` for each completion."""
    complete = SHELLS[shell](click.Group("longshore"), {}, "longshore", "_LONGSHORE_COMPLETE")
    # Not `source()`, which runs bash to check its version: the script may be for another machine.
    return complete.source_template % complete.source_vars()

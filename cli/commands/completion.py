"""The verb `completion`: prints a shell's completion script."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

SHELLS: dict[str, type[ShellComplete]] = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}

AUTOLOADED = "$zsh_eval_context[-1] == loadautofunc"
"""How click's script for zsh recognizes that zsh calls it from $fpath. It holds for the first call only: the second one
would complete nothing.
"""


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
    text = complete.source_template % complete.source_vars()
    return text.replace(AUTOLOADED, "$funcstack[1] == _longshore")

"""The option `--var K=V`."""

from __future__ import annotations

import re

import click

from protocol.plan import Variable

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _parse(_ctx: click.Context, _option: click.Parameter, given: tuple[str, ...]) -> list[Variable]:
    variables = []
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not NAME.fullmatch(key):
            raise click.BadParameter(f"{text!r} is not NAME=VALUE; a name has letters, digits and '_'")
        variables.append(Variable(key=key, value=value))
    return variables


variable_option = click.option(
    "--var",
    "variables",
    metavar="K=V",
    multiple=True,
    callback=_parse,
    help="A variable for all jobs, above those of the file. May be given more than once.",
)

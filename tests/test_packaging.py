"""The wheel that `make wheel` builds, installed as pipx installs it, and the units and images around it."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cli.commands.completion import SHELLS, script
from cli.main import VERBS
from protocol import VERSION
from tests.conftest import ROOT
from tests.support.eventually import eventually

UNITS = sorted((ROOT / "packaging" / "systemd").glob("*.service"))


def test_the_units_are_sound_and_start_what_exists() -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, UNITS)], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
    for unit in UNITS:
        (verb,) = re.findall(r"^ExecStart=/usr/bin/env longshore (\w+) \$LONGSHORE_OPTIONS$", unit.read_text(), re.M)
        assert verb in VERBS
        (families,) = re.findall(r"^RestrictAddressFamilies=(.*)$", unit.read_text(), re.M)
        assert "AF_NETLINK" in families.split(), "without it libzmq aborts the process when it binds a socket"
        assert re.search(r"^Environment=HOME=%S/longshore", unit.read_text(), re.M), "a dynamic user has no home"


@pytest.mark.parametrize("shell", SHELLS)
def test_a_completion_script_calls_longshore(shell: str) -> None:
    text = script(shell)
    assert "_LONGSHORE_COMPLETE=" in text
    assert "longshore" in text


def test_bash_completes_verbs_options_and_arguments(tmp_path: Path) -> None:
    (tmp_path / "completion").write_text(script("bash"))
    ask = (
        'source "$1"; export PATH="$2:$PATH"; COMP_WORDS=("${@:3}"); COMP_CWORD=$(($# - 3)); '
        '_longshore_completion longshore; printf "%s\\n" "${COMPREPLY[@]}"'
    )

    def completed(*words: str) -> list[str]:
        asked = ["bash", "-c", ask, "-", str(tmp_path / "completion"), str(Path(sys.executable).parent)]
        return subprocess.run([*asked, *words], capture_output=True, text=True, check=True).stdout.split()

    assert completed("longshore", "va") == ["validate"]
    assert "background" not in completed("longshore", "")
    assert completed("longshore", "run", "--det") == ["--detach"]
    assert completed("longshore", "completion", "f") == ["fish"]


def test_fish_completes_verbs_options_and_arguments(tmp_path: Path) -> None:
    if shutil.which("fish") is None:
        pytest.skip("fish is not installed")
    (tmp_path / "longshore.fish").write_text(script("fish"))

    def completed(line: str) -> list[str]:
        ask = ["fish", "--no-config", "-c", 'source $argv[1]; complete -C "$argv[2]"', str(tmp_path / "longshore.fish")]
        asked = subprocess.run([*ask, line], env=with_longshore(), capture_output=True, text=True, check=True)
        return [found.partition("\t")[0] for found in asked.stdout.splitlines()]

    assert completed("longshore va") == ["validate"]
    assert completed("longshore run --det") == ["--detach"]
    assert completed("longshore completion f") == ["fish"]


def test_zsh_completes_verbs_options_and_arguments_as_they_are_typed(tmp_path: Path) -> None:
    if shutil.which("zsh") is None:
        pytest.skip("zsh is not installed")
    (tmp_path / "_longshore").write_text(script("zsh"))
    (tmp_path / ".zshrc").write_text(
        "fpath=($ZDOTDIR $fpath); autoload -Uz compinit; compinit -u -D\n"
        'report() { print -r -- "$BUFFER" >> $ZDOTDIR/lines; BUFFER="" }; zle -N report; bindkey "^X" report\n'
    )
    typed = b"".join(line + b"\t\x18" for line in (b"longshore va", b"longshore run --det", b"longshore completion f"))
    ours, theirs = pty.openpty()
    environment = with_longshore() | {"ZDOTDIR": str(tmp_path), "TERM": "dumb"}
    shell = subprocess.Popen(["zsh", "-i"], stdin=theirs, stdout=theirs, stderr=theirs, env=environment, cwd=tmp_path)
    os.close(theirs)
    reader = threading.Thread(target=drain, args=(ours,))
    reader.start()
    try:
        os.write(ours, typed)
        eventually(lambda: (tmp_path / "lines").exists() and (tmp_path / "lines").read_text().count("\n") == 3)
    finally:
        shell.kill()
        shell.wait()
        reader.join()
        os.close(ours)
    assert (tmp_path / "lines").read_text().splitlines() == [
        "longshore validate ",
        "longshore run --detach ",
        "longshore completion fish ",
    ]


def with_longshore() -> dict[str, str]:
    """The environment of a user who has installed Longshore."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def drain(terminal: int) -> None:
    """Reads a terminal until its programs have ended."""
    with contextlib.suppress(OSError):
        while os.read(terminal, 4096):
            pass


def test_the_wheel_has_the_whole_program_with_its_pages(tmp_path: Path) -> None:
    tagged = {**os.environ, "GIT_DIR": str(tmp_path / "tagged.git")}
    subprocess.run(["git", "clone", "-q", "--bare", str(ROOT), tagged["GIT_DIR"]], check=True)
    subprocess.run(["git", "tag", "v7.8.9"], env=tagged, check=True)
    built = subprocess.run(
        [ROOT / "scripts/wheel.sh", str(tmp_path / "dist")], env=tagged, capture_output=True, text=True, check=True
    )
    wheel = Path(built.stdout.strip())
    assert wheel.name == "longshore-7.8.9-py3-none-any.whl"
    place = tmp_path / "installed"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", "--system-site-packages", str(place)], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(place / "bin/python"), "install", "-q", "--no-deps"]
    subprocess.run([*pip, "--ignore-installed", str(wheel)], check=True)
    shown = subprocess.run([place / "bin/longshore", "--version"], cwd="/", capture_output=True, text=True, check=True)
    assert shown.stdout == "longshore 7.8.9\n"
    pages = {page.stem for page in (place / "share/man/man1").iterdir()}
    assert {f"longshore-{name}" for name, verb in VERBS.items() if not verb.hidden} <= pages
    page = (place / "share/man/man1/longshore-run.1").read_text()
    assert '"7.8.9"' in page
    assert f"longshore\\-run \\- {VERBS['run'].help}" in page
    for path in ("bash-completion/completions/longshore", "fish/vendor_completions.d/longshore.fish"):
        assert "_LONGSHORE_COMPLETE" in (place / "share" / path).read_text()
    assert {unit.name for unit in (place / "share/longshore/systemd").iterdir()} == {unit.name for unit in UNITS}
    assert VERSION != "7.8.9"

#!/usr/bin/env bash
# Makes this machine ready: `scripts/setup.sh [python] [dev] [tools] [docker] [images] [test-images]`, in the order given.
# Each step finds out first whether there is anything to do, so a second call takes no time. Sourcing this file gives
# the steps as functions. Where a step needs root or apt and has neither, it says what to install and stops.
set -euo pipefail
umask 022    # what it installs and puts into images is for every user
unset CDPATH # `cd` goes where it is told and prints nothing

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VENV=$ROOT/.venv
DOCKER_LOG=/var/log/longshore-dockerd.log
DOCKER_START_SECONDS=120

say() { printf '==> %s\n' "$*" >&2; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
may_install() { [ "$(id -u)" = 0 ] && have apt-get; }

# quietly COMMAND...: its output is shown only if it fails.
quietly() {
    local output
    if ! output=$("$@" </dev/null 2>&1); then
        printf '%s\n' "$output" >&2
        return 1
    fi
}

update_package_lists() { quietly apt-get update || die "apt-get update failed; its message is above"; }

# apt_install WHY PACKAGE...: installs Debian packages, or says that somebody must.
apt_install() {
    local why=$1
    shift
    may_install || die "$why. Install it and try again (on Debian and Ubuntu, as root: apt-get install $*)."
    say "installing $*"
    local install=(env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@")
    # No lists yet, or lists that are older than the mirror.
    if ! ls /var/lib/apt/lists/*_Packages* >/dev/null 2>&1 ||
        ! "${install[@]}" --download-only </dev/null >/dev/null 2>&1; then
        update_package_lists
    fi
    quietly "${install[@]}" || die "$why, and apt could not install $*; its message is above"
}

setup_git() {
    have git || apt_install "git is missing" git
}

# What tests look through: `ip` makes networks that fail, `ps` is what the engine lists processes with, Chromium opens
# the dashboard's page, PostgreSQL is the other database. Tests that need one that can't be had are skipped, by name.
setup_tools() {
    have ip || try_to_install iproute2
    have ps || try_to_install procps
    have chromium || have chromium-browser || have google-chrome || try_to_install chromium
    ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || try_to_install postgresql
}

# try_to_install PACKAGE: not every distribution has each, and not everybody may.
try_to_install() {
    may_install || return 0
    (apt_install "$1, which tests use, is missing" "$1") || say "the tests that need $1 are skipped"
}

# A Python that is new enough, by $PYTHON or by name.
find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11; do
        if [ -n "$candidate" ] && have "$candidate" &&
            "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    return 1
}

# pip_install ARGUMENT...: into .venv, whatever the user's own settings of pip say of where and how; where packages
# come from is theirs to say.
pip_install() {
    quietly env -u PIP_TARGET -u PIP_PREFIX -u PIP_ROOT PIP_USER=0 PIP_REQUIRE_HASHES=0 PIP_NO_DEPS=0 PIP_DRY_RUN=0 \
        "$VENV/bin/python" -m pip install --disable-pip-version-check "$@" ||
        die "pip could not install the project; its message is above"
}

# As pip does for all but editable projects. Python itself keeps what it compiles only where PYTHONDONTWRITEBYTECODE is
# not set; without, every `longshore` takes 0.15 s more. A folder that can't be written to is left as it is.
compile_project() {
    "$VENV/bin/python" -m compileall -q "$ROOT"/{protocol,pipeline,coordinator,daemon,tui,cli,benchmarks} >/dev/null || :
}

# venv_is_usable: .venv was made for this place, by a Python that is still there and new enough, and has pip.
venv_is_usable() {
    "$VENV/bin/python" -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null &&
        head -n 3 "$VENV/bin/pip" 2>/dev/null | grep -qF "$VENV/bin/" # its programs name the place
}

# make_venv: a new .venv in place of one that is not usable.
make_venv() {
    local python
    if ! python=$(find_python); then
        apt_install "Python 3.11 or newer is missing" python3 python3-venv
        python=$(find_python) || die "Python 3.11 or newer is missing; set PYTHON to one"
    fi
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        apt_install "Python's venv module is missing" \
            "$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
    fi
    say "making .venv with $("$python" --version)"
    rm -rf "$VENV" || die "$VENV is not usable and can't be removed; its message is above"
    quietly "$python" -m venv "$VENV" || die "$python could not make $VENV; its message is above"
}

# install_project STAMP [LOCK]: an editable install into .venv, again only when what it depends on has changed. With a
# lock file, nothing is installed that is not in it, hash and all.
install_project() {
    local stamp=$VENV/$1 lock=${2:-} key
    venv_is_usable || make_venv
    key=$({ "$VENV/bin/python" --version; cat "$ROOT/pyproject.toml" ${lock:+"$lock"}; } | sha256sum)
    [ "$(cat "$stamp" 2>/dev/null)" != "$key" ] || return 0
    [ -w "$VENV" ] || die "$VENV belongs to $(stat -c %U "$VENV"), and what is in it is not up to date. Remove it, or be \
that user."
    say "installing Longshore${lock:+ for development} into .venv"
    if [ -n "$lock" ]; then
        pip_install --require-hashes --requirement "$lock"
        pip_install --no-deps --no-build-isolation --editable "$ROOT"
    else
        pip_install --editable "$ROOT"
    fi
    printf '%s\n' "$key" >"$stamp"
}

setup_python() {
    if [ -e "$VENV/.longshore-dev" ]; then
        setup_dev
        return
    fi
    install_project .longshore
    compile_project
}

setup_dev() {
    setup_git
    install_project .longshore-dev "$ROOT/requirements-dev.lock"
    compile_project
}

docker_answers() { docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

start_dockerd() {
    say "starting Docker's engine (log: $DOCKER_LOG)"
    if ! ls /sys/fs/cgroup/* >/dev/null 2>&1; then
        have cgroupfs-mount || apt_install "no cgroups are mounted" cgroupfs-mount
        cgroupfs-mount
    fi
    if [ -d /run/systemd/system ]; then
        systemctl start docker
    else
        # In a session of its own, so that it outlives this shell and its Ctrl-C.
        setsid dockerd </dev/null >>"$DOCKER_LOG" 2>&1 &
    fi
    local waited
    for ((waited = 0; waited < DOCKER_START_SECONDS * 5; waited++)); do
        docker_answers && return
        sleep 0.2
    done
    tail -n 20 "$DOCKER_LOG" >&2 || true
    die "Docker's engine did not come up within $DOCKER_START_SECONDS s; the end of its log is above"
}

setup_docker() {
    have docker && docker_answers && return
    if [ -n "${DOCKER_HOST:-}" ]; then
        have docker || apt_install "the docker command is missing" docker.io
        docker_answers || die "no Docker engine answers at DOCKER_HOST=$DOCKER_HOST; start it, or unset DOCKER_HOST"
        return
    fi
    if ! { have docker && have dockerd; }; then
        apt_install "no Docker engine answers and none is installed" docker.io iptables
        have docker || apt_install "the docker command is missing" docker-cli
        docker_answers && return
    fi
    [ "$(id -u)" = 0 ] || die "no Docker engine answers. Start it (as root: systemctl start docker), and see that you \
may use it (as root: usermod -aG docker $(id -un); then log in again)."
    start_dockerd
}

setup_images() { "$ROOT/scripts/images.sh" demo; }
setup_test_images() { "$ROOT/scripts/images.sh" demo test; }

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    for step in "$@"; do
        case $step in
            python | dev | docker | images | git | tools) "setup_$step" ;;
            test-images) setup_test_images ;;
            *) die "no step '$step'; there are: python dev git tools docker images test-images" ;;
        esac
    done
fi

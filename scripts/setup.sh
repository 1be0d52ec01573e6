#!/usr/bin/env bash
# Sets up this machine: `scripts/setup.sh [python] [dev] [git] [tools] [docker] [images] [test-images]`, in that order.
# Each step first checks whether it is already done, so a second call takes no time. Sourcing this file defines the
# steps as functions. A step that needs root or apt and has neither stops and names the missing packages.
set -euo pipefail
umask 022    # installed files and images' files are readable by every user
unset CDPATH # it would make `cd` search other folders, and print

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VENV=$ROOT/.venv
DOCKER_LOG=/var/log/longshore-dockerd.log
DOCKER_START_SECONDS=120

say() { printf '==> %s\n' "$*" >&2; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
may_install() { [ "$(id -u)" = 0 ] && have apt-get; }

# quietly COMMAND...: shows its output only if it fails.
quietly() {
    local output
    if ! output=$("$@" </dev/null 2>&1); then
        printf '%s\n' "$output" >&2
        return 1
    fi
}

update_package_lists() { quietly apt-get update || die "apt-get update failed; its message is above"; }

# apt_install WHY PACKAGE...: installs Debian packages, or dies with instructions.
apt_install() {
    local why=$1
    shift
    may_install || die "$why. Install it and try again (on Debian and Ubuntu, as root: apt-get install $*)."
    say "installing $*"
    local install=(env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@")
    # Without lists, or with lists older than the mirror's.
    if ! ls /var/lib/apt/lists/*_Packages* >/dev/null 2>&1 ||
        ! "${install[@]}" --download-only </dev/null >/dev/null 2>&1; then
        update_package_lists
    fi
    quietly "${install[@]}" || die "$why, and apt could not install $*; its message is above"
}

# A client makes workspaces of repositories with git, a worker checks them out with it.
setup_git() {
    have git || apt_install "git is missing" git
}

# Programs for tests: `ip` builds networks with faults, the engine lists processes with `ps`, Chromium opens the
# dashboard's page, PostgreSQL is the other database, OpenSSH serves git repositories, zsh and fish complete command
# lines. Tests without their program are skipped by name.
setup_tools() {
    have ip || try_to_install iproute2
    have ps || try_to_install procps
    have chromium || have chromium-browser || have google-chrome || try_to_install chromium
    have zsh || try_to_install zsh
    have fish || try_to_install fish
    have sshd || [ -x /usr/sbin/sshd ] || try_to_install openssh-server
    ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || try_to_install postgresql
}

# try_to_install PACKAGE: not every distribution has it, and not every user may install it.
try_to_install() {
    may_install || return 0
    (apt_install "$1, which tests use, is missing" "$1") || say "the tests that need $1 are skipped"
}

# find_python: prints a recent enough Python, from $PYTHON or by name.
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

# pip_install ARGUMENT...: installs into .venv. Overrides the user's pip settings for target and mode, keeps those for
# package sources.
pip_install() {
    quietly env -u PIP_TARGET -u PIP_PREFIX -u PIP_ROOT PIP_USER=0 PIP_REQUIRE_HASHES=0 PIP_NO_DEPS=0 PIP_DRY_RUN=0 \
        "$VENV/bin/python" -m pip install --disable-pip-version-check "$@" ||
        die "pip could not install the project; its message is above"
}

# compile_project: compiles modules, as pip does for all but editable projects. With PYTHONDONTWRITEBYTECODE, Python
# does not keep compiled modules, and every `longshore` takes 0.15 s more. A read-only folder is left unchanged.
compile_project() {
    "$VENV/bin/python" -m compileall -q "$ROOT"/{protocol,pipeline,coordinator,daemon,tui,compiler,cli,benchmarks} >/dev/null || :
}

# venv_is_usable: .venv was made for this path, by an existing, recent enough Python, and has pip.
venv_is_usable() {
    "$VENV/bin/python" -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null &&
        head -n 3 "$VENV/bin/pip" 2>/dev/null | grep -qF "$VENV/bin/" # its programs contain the path
}

# make_venv: replaces an unusable .venv.
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

# install_project STAMP [LOCK]: an editable install into .venv, repeated only if Python, pyproject.toml or the lock file
# has changed. With a lock file, only its packages are installed, checked by hash.
install_project() {
    local stamp=$VENV/$1 lock=${2:-} key
    venv_is_usable || make_venv
    key=$({ "$VENV/bin/python" --version; cat "$ROOT/pyproject.toml" ${lock:+"$lock"}; } | sha256sum)
    [ "$(cat "$stamp" 2>/dev/null)" != "$key" ] || return 0
    [ -w "$VENV" ] || die "$VENV belongs to $(stat -c %U "$VENV"), and its content is out of date. Remove it, or \
run this as that user."
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
        # In its own session, to outlive this shell and its Ctrl-C.
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
    [ "$(id -u)" = 0 ] || die "no Docker engine answers. Start it (as root: systemctl start docker), and get access \
to it (as root: usermod -aG docker $(id -un); then log in again)."
    start_dockerd
}

setup_images() { "$ROOT/scripts/images.sh" demo; }
setup_test_images() { "$ROOT/scripts/images.sh" demo test; }

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    for step in "$@"; do
        case $step in
            python | dev | docker | images | git | tools) "setup_$step" ;;
            test-images) setup_test_images ;;
            *) die "no step '$step'; the steps are: python dev git tools docker images test-images" ;;
        esac
    done
fi

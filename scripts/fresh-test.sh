#!/usr/bin/env bash
# Runs both commands of the README as on a new machine: `scripts/fresh-test.sh [OPTION...] [COMMAND...]`
#
# Each COMMAND (by default `make demo`, then `.ci/run`, which is `make test`) gets a root of its own, in which there is
# Debian's or Ubuntu's smallest base system, Python, make and apt, and a clone of what is committed. It runs there as
# root, in namespaces for mounts and processes, with this machine's package sources, pip's configuration, proxies,
# devices and network, and with the socket of this machine's Docker engine, for which the images are made anew. Nothing
# of it is left afterwards but the base system's archive in the user's cache directory.
#
#   --suite NAME   the release of the base system; by default this machine's
#   --commit REV   what is cloned; by default HEAD
#   --path DIR     where in the root it is cloned to; by default /root/longshore
#   --user         run the commands as an ordinary user who may use Docker, after `setup` has made the machine ready
#   --keep         leave the roots, and say where they are
#
# Needs root, apt, and debootstrap, which it installs. Example: scripts/fresh-test.sh --keep 'make lint'
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

fail() { printf 'fresh-test: %s\n' "$*" >&2; exit 2; }

SUITE='' COMMIT=HEAD TARGET=/root/longshore AS_USER='' KEEP=''
while [ $# != 0 ]; do
    case $1 in
        --suite | --commit | --path)
            [ $# -ge 2 ] || fail "$1 needs a value"
            case $1 in --suite) SUITE=$2 ;; --commit) COMMIT=$2 ;; --path) TARGET=$2 ;; esac
            shift
            ;;
        --user) AS_USER=1 ;;
        --keep) KEEP=1 ;;
        -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" && exit ;;
        -*) fail "no option $1; there are: --suite --commit --path --user --keep" ;;
        *) break ;;
    esac
    shift
done
[ $# != 0 ] || set -- 'make demo' .ci/run

[ "$(id -u)" = 0 ] || fail "a root of its own can only be made by root"
have apt-get || fail "the base system comes from the package sources of apt, which this machine has not"
have git || setup_git
COMMIT=$(git -C "$ROOT" rev-parse --verify --quiet "$COMMIT^{commit}") || fail "no commit '$COMMIT'"
[ -z "$(git -C "$ROOT" status --porcelain)" ] || say "what is not committed is not tried"
setup_docker
case ${DOCKER_HOST:=unix:///var/run/docker.sock} in
    unix://*) SOCKET=${DOCKER_HOST#unix://} ;;
    *) fail "it needs the socket of a Docker engine on this machine, not DOCKER_HOST=$DOCKER_HOST" ;;
esac
have debootstrap || apt_install "debootstrap is missing" debootstrap

OURS=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
[ -n "$OURS" ] || fail "this machine does not name its release in /etc/os-release"
SUITE=${SUITE:-$OURS}
CACHE=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/longshore/fresh-test
BASE=$CACHE/$SUITE-$(dpkg --print-architecture).tar.gz
WORK=$(mktemp -d "${TMPDIR:-/tmp}/longshore-fresh.XXXXXX")
chmod 755 "$WORK" # the roots' users look through it

# image_id NAME: which image has that name now; prints nothing if none has.
image_id() { docker image inspect --format '{{.Id}}' "$1" 2>/dev/null || :; }

IMAGES=(longshore/demo:latest longshore/busybox:test longshore/debian:test)
BEFORE=()
for name in "${IMAGES[@]}"; do BEFORE+=("$(image_id "$name")"); done

# restore_images: gives the names back to the images that had them, and removes those that came between.
restore_images() {
    local number now
    for number in "${!IMAGES[@]}"; do
        now=$(image_id "${IMAGES[number]}")
        [ "$now" != "${BEFORE[number]}" ] || continue
        if [ -n "${BEFORE[number]}" ]; then
            docker tag "${BEFORE[number]}" "${IMAGES[number]}" || continue
        else
            docker image rm "${IMAGES[number]}" >/dev/null 2>&1 || :
        fi
        docker image rm "$now" >/dev/null 2>&1 || : # it is in use, or has another name
    done
}

clean_up() {
    restore_images
    if [ -n "$KEEP" ]; then
        say "the roots are in $WORK"
    else
        rm -rf --one-file-system "$WORK"
    fi
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# make_base: the base system's archive, without lists of packages, as an image of it comes.
make_base() {
    local root=$WORK/base mirror
    mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' 'Identifier: Packages' |
        awk -v suite="$OURS" '$2 == suite && $3 == "main" { print $1; exit }')
    say "making the base system of $SUITE"
    quietly debootstrap --variant=minbase --include=ca-certificates,python3,make "$SUITE" "$root" ${mirror:+"$mirror"} ||
        fail "debootstrap could not make a base system of $SUITE; its message is above"
    rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin "$root"/var/cache/apt/archives/*.deb
    mkdir -p "$CACHE"
    tar -C "$root" --one-file-system --numeric-owner -cz . >"$BASE.new"
    mv "$BASE.new" "$BASE"
    rm -rf --one-file-system "$root"
}

# local_places: folders of this machine that its pip gets packages from, one a line.
local_places() {
    local place
    { python3 -m pip config list 2>/dev/null || :; } | grep -oE "(file://)?/[^' ]+" |
        while read -r place; do
            case $place in
                file://*) place=$(dirname "${place#file://}") ;; # the files of an index are beside it
            esac
            [ ! -d "$place" ] || printf '%s\n' "$place"
        done | sort -u
}

# configure ROOT: gives it this machine's package sources, certificates, pip's configuration and names of hosts.
configure() {
    local root=$1 path
    rm -rf "$root/etc/apt/sources.list" "$root/etc/apt/sources.list.d"
    for path in /etc/apt /usr/share/keyrings /etc/ssl/certs /usr/share/ca-certificates /usr/local/share/ca-certificates \
        /etc/pip.conf /etc/xdg/pip "${HOME:-/root}/.config/pip" /etc/resolv.conf /etc/hosts; do
        [ -e "$path" ] || continue
        mkdir -p "$root$(dirname "$path")"
        cp -RL --remove-destination "$path" "$root$(dirname "$path")"/ 2>/dev/null || : # links that lead nowhere
    done
    [ "$SUITE" = "$OURS" ] || find "$root"/etc/apt/sources.list* -type f -exec sed -i "s/\b$OURS\b/$SUITE/g" {} +
}

# enter ROOT COMMAND: in new namespaces. What it mounts and starts ends with them.
enter() {
    local root=$1 command=$2 place name
    mount --bind "$root" "$root"
    cd "$root"
    mount -t proc proc proc
    mount --rbind /sys sys
    mount --rbind /dev dev
    mount -t tmpfs tmpfs run
    mkdir -p run/lock
    touch run/docker.sock
    mount --bind "$SOCKET" run/docker.sock
    mkdir -p ".$SHARED"
    mount --bind "$SHARED" ".$SHARED" # what a test lets containers see must have one path here and for the engine
    while read -r place; do
        [ -n "$place" ] || continue
        mkdir -p ".$place"
        mount --bind "$place" ".$place"
    done <<<"$PLACES"
    mkdir -p .old
    pivot_root . .old
    cd /
    umount -l /.old
    rmdir /.old
    local environment=(
        HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
        "TMPDIR=$SHARED" "IMAGES_OF=$root"
    )
    for name in $(compgen -e); do
        case $name in
            *_proxy | *_PROXY | PIP_* | SSL_CERT_* | *_CA_BUNDLE | CI) environment+=("$name=${!name}") ;;
        esac
    done
    # Process 1 waits for a child, and with it for everybody's orphans.
    env -i "${environment[@]}" bash -c 'cd "$1" && bash -c "$2"' enter "$TARGET" "$command" </dev/null
}
SHARED=$WORK/tmp
mkdir -m 1777 "$SHARED"
export SOCKET SHARED TARGET
PLACES=$(local_places)
export PLACES
export -f enter

# try NUMBER COMMAND: runs it in a root of its own, and notes whether it failed.
try() {
    local root=$WORK/$1 command=$2 status=0
    mkdir "$root"
    tar -C "$root" --numeric-owner -xzf "$BASE"
    configure "$root"
    mkdir -p "$root$(dirname "$TARGET")"
    git clone --quiet --no-hardlinks --no-checkout "$ROOT" "$root$TARGET"
    git -C "$root$TARGET" checkout --quiet --detach "$COMMIT"
    if [ -n "$AS_USER" ]; then
        command="scripts/setup.sh git docker tools && groupmod --non-unique --gid $(stat -Lc %g "$SOCKET") docker &&
            useradd --create-home --groups docker someone && chmod o+x /root && chown -R someone . &&
            runuser -u someone -- env HOME=/home/someone bash -c $(printf %q "$command")"
    fi
    say "on a new machine: $2"
    unshare --mount --pid --fork --kill-child --propagation private \
        bash -euo pipefail -c 'enter "$@"' enter "$root" "$command" || status=$?
    say "on a new machine: $2: exit status $status"
    [ "$status" = 0 ] || failed=1
    [ -n "$KEEP" ] || rm -rf --one-file-system "$root"
}

[ -e "$BASE" ] || make_base
failed=0
for ((number = 1; number <= $#; number++)); do
    try "$number" "${!number}"
done
exit "$failed"

#!/usr/bin/env bash
# Runs both commands of the README as on a new machine: `scripts/fresh-test.sh [OPTION...] [COMMAND...]`
#
# Each COMMAND (by default `make demo`, then `.ci/run`, which is `make test`) gets its own root with the minimal base
# system of Debian or Ubuntu, Python, make, apt, and a clone of a commit. It runs there as root, in mount and process
# namespaces, with this machine's package sources, pip configuration, proxies, devices and network, and with the socket
# of this machine's Docker engine, for which the images are rebuilt. Afterwards only the base system's archive remains,
# in the user's cache directory.
#
#   --suite NAME   the release of the base system; by default this machine's
#   --commit REV   the commit to clone; by default HEAD
#   --path DIR     the clone's path in the root; by default /root/longshore
#   --user         run the commands as an ordinary user with access to Docker, after `setup` as root
#   --keep         keep the roots, and print their location
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
        -*) fail "no option $1; the options are: --suite --commit --path --user --keep" ;;
        *) break ;;
    esac
    shift
done
[ $# != 0 ] || set -- 'make demo' .ci/run

[ "$(id -u)" = 0 ] || fail "only root can create a new root"
have apt-get || fail "the base system comes from package sources of apt, and this machine has no apt"
have git || setup_git
COMMIT=$(git -C "$ROOT" rev-parse --verify --quiet "$COMMIT^{commit}") || fail "no commit '$COMMIT'"
[ -z "$(git -C "$ROOT" status --porcelain)" ] || say "uncommitted changes are not tested"
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
chmod 755 "$WORK" # the roots' users must be able to enter it

# image_id NAME: prints the id of the image with that name, or nothing.
image_id() { docker image inspect --format '{{.Id}}' "$1" 2>/dev/null || :; }

IMAGES=(longshore/demo:latest longshore/busybox:test longshore/debian:test)
BEFORE=()
for name in "${IMAGES[@]}"; do BEFORE+=("$(image_id "$name")"); done

# restore_images: returns the names to their former images, and removes the images made meanwhile.
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
        docker image rm "$now" >/dev/null 2>&1 || : # in use, or under another name
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

# make_base: builds the base system's archive, without package lists, like a distribution's image.
make_base() {
    local root=$WORK/base mirror
    mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' 'Identifier: Packages' |
        awk -v suite="$OURS" '$2 == suite && $3 == "main" { print $1; exit }')
    say "making the base system of $SUITE"
    # In a mount namespace: if debootstrap's /proc is busy when it ends, it stays mounted, and the root can't be removed.
    quietly unshare --mount --propagation private \
        debootstrap --variant=minbase --include=ca-certificates,python3,make "$SUITE" "$root" ${mirror:+"$mirror"} ||
        fail "debootstrap could not make a base system of $SUITE; its message is above"
    rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin "$root"/var/cache/apt/archives/*.deb
    mkdir -p "$CACHE"
    tar -C "$root" --one-file-system --numeric-owner -cz . >"$BASE.new"
    mv "$BASE.new" "$BASE"
    rm -rf --one-file-system "$root"
}

# local_places: prints this machine's folders from which pip gets packages, one per line.
local_places() {
    local place
    { python3 -m pip config list 2>/dev/null || :; } | grep -oE "(file://)?/[^' ]+" |
        while read -r place; do
            case $place in
                file://*) place=$(dirname "${place#file://}") ;; # an index's files are beside it
            esac
            [ ! -d "$place" ] || printf '%s\n' "$place"
        done | sort -u
}

# configure ROOT: copies this machine's package sources, certificates, pip configuration and host names into it.
configure() {
    local root=$1 path
    rm -rf "$root/etc/apt/sources.list" "$root/etc/apt/sources.list.d"
    for path in /etc/apt /usr/share/keyrings /etc/ssl/certs /usr/share/ca-certificates /usr/local/share/ca-certificates \
        /etc/pip.conf /etc/xdg/pip "${HOME:-/root}/.config/pip" /etc/resolv.conf /etc/hosts; do
        [ -e "$path" ] || continue
        mkdir -p "$root$(dirname "$path")"
        cp -RL --remove-destination "$path" "$root$(dirname "$path")"/ 2>/dev/null || : # dangling links
    done
    [ "$SUITE" = "$OURS" ] || find "$root"/etc/apt/sources.list* -type f -exec sed -i "s/\b$OURS\b/$SUITE/g" {} +
}

# enter ROOT COMMAND: runs in new namespaces; its mounts and processes end with them.
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
    mount --bind "$SHARED" ".$SHARED" # files shared with containers need the same path here and for the engine
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
    # Process 1 must be a shell that waits for its child: it also reaps orphans.
    env -i "${environment[@]}" bash -c 'cd "$1" && bash -c "$2"' enter "$TARGET" "$command" </dev/null
}
SHARED=$WORK/tmp
mkdir -m 1777 "$SHARED"
export SOCKET SHARED TARGET
PLACES=$(local_places)
export PLACES
export -f enter

# try NUMBER COMMAND: runs it in its own root, and records a failure.
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

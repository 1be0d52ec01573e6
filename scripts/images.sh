#!/usr/bin/env bash
# Builds the images of the demo and the tests with `docker import`, without a registry:
#   demo  longshore/demo:latest     Debian's static busybox: sh, the usual tools, users, /tmp
#   test  longshore/busybox:test    the same image
#         longshore/debian:test     Debian's own bash, dash and GNU tools, from this machine's configured mirror
#         longshore/git:test        the same and git
# Images built by this version of the script (with IMAGES_OF=NAME: for NAME) are reused.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

RECIPE=$({ cat "${BASH_SOURCE[0]}"; printf "%s" "${IMAGES_OF:-}"; } | sha256sum | cut -c1-16)
DEBIAN_PACKAGES=(bash dash coreutils sed grep findutils tar gzip mawk base-passwd hostname)

# is_current IMAGE: whether it was built by this recipe.
is_current() {
    [ "$(docker image inspect --format '{{index .Config.Labels "longshore.recipe"}}' "$1" 2>/dev/null)" = "$RECIPE" ]
}

# Build directory, removed on exit.
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT

# basics DIR: creates the directories and system files common to all images.
basics() {
    mkdir -p "$1"/{bin,dev,etc,home/user,proc,root,run,sys,tmp,usr/bin,var/tmp}
    chmod 1777 "$1/tmp" "$1/var/tmp"
    printf '%s\n' 'root:x:0:0:root:/root:/bin/sh' 'user:x:1000:1000:user:/home/user:/bin/sh' \
        'nobody:x:65534:65534:nobody:/nonexistent:/bin/false' >"$1/etc/passwd"
    printf '%s\n' 'root:x:0:' 'user:x:1000:' 'nogroup:x:65534:' >"$1/etc/group"
    printf '%s\n' 'hosts: files dns' >"$1/etc/nsswitch.conf"
}

# import DIR IMAGE: builds IMAGE from the tree in DIR.
import() {
    tar -C "$1" --owner=0 --group=0 --numeric-owner -c . |
        docker import --change 'CMD ["sh"]' --change "LABEL longshore.recipe=$RECIPE" \
            --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' - "$2" >/dev/null
}

# static_busybox: prints the path of a statically linked busybox; downloads it if missing, which needs no root.
static_busybox() {
    local found
    for found in /bin/busybox /usr/bin/busybox; do
        if [ -x "$found" ] && ! ldd "$found" >/dev/null 2>&1; then
            printf '%s\n' "$found"
            return
        fi
    done
    have apt-get || die "the demo image needs a static busybox; install one as /bin/busybox"
    need_package_lists
    fetch_packages "$WORK/busybox" busybox-static
    find "$WORK/busybox" -name busybox -type f -perm -u+x
}

# need_package_lists: downloads apt's package lists if missing.
need_package_lists() {
    if ! ls /var/lib/apt/lists/*_Packages* >/dev/null 2>&1; then
        [ "$(id -u)" = 0 ] || die "apt has no package lists; as root: apt-get update"
        update_package_lists
    fi
}

# fetch_packages DIR PACKAGE...: downloads Debian packages and unpacks them into DIR, without installing them.
fetch_packages() {
    local dir=$1 archive
    shift
    mkdir -p "$dir" "$WORK/archives"
    chmod 777 "$WORK" "$WORK/archives" # apt downloads as another user
    cd "$WORK/archives"
    if ! apt-get download "$@" </dev/null >/dev/null 2>&1; then # the mirror may be newer than the lists
        [ "$(id -u)" != 0 ] || update_package_lists
        quietly apt-get download "$@" || die "apt could not download $*; its message is above"
    fi
    cd - >/dev/null
    for archive in "$WORK"/archives/*.deb; do
        dpkg-deb -x "$archive" "$dir"
        rm "$archive"
    done
}

make_busybox() {
    local image=$1 root=$WORK/busybox-root busybox applet
    say "making the image $image"
    busybox=$(static_busybox)
    [ -n "$busybox" ] || die "no static busybox is available"
    basics "$root"
    cp "$busybox" "$root/bin/busybox"
    for applet in $("$busybox" --list); do
        [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
    done
    ln -s ../../bin/env "$root/usr/bin/env"
    import "$root" "$image"
}

# make_debian IMAGE PACKAGE...: builds IMAGE from DEBIAN_PACKAGES, these packages, and their libraries.
make_debian() {
    local image=$1 root=$WORK/debian-root
    local packages=("${DEBIAN_PACKAGES[@]}" "${@:2}")
    rm -rf "$root"
    say "making the image $image"
    have apt-get && have dpkg-deb || die "the image $image needs Debian packages, and this machine has no apt"
    need_package_lists
    local wanted
    mapfile -t wanted < <(apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks \
        --no-replaces --no-enhances "${packages[@]}" | grep '^[a-z0-9]' | grep -E '^(lib[a-z0-9.+-]+|zlib1g|gcc-.*-base)$' | grep -v perl |
        grep -v ':' | sort -u)
    fetch_packages "$root" "${packages[@]}" "${wanted[@]}"
    basics "$root"
    [ -e "$root/bin/sh" ] || ln -s dash "$root/bin/sh"
    ln -s mawk "$root/usr/bin/awk" # as Debian's installation scripts do
    rm -rf "$root"/usr/share/{doc,man,locale,info,lintian}
    import "$root" "$image"
}

for group in "$@"; do
    case $group in
        demo)
            is_current longshore/demo:latest || make_busybox longshore/demo:latest
            ;;
        test)
            is_current longshore/busybox:test || docker tag longshore/demo:latest longshore/busybox:test
            is_current longshore/debian:test || make_debian longshore/debian:test
            is_current longshore/git:test || make_debian longshore/git:test git
            ;;
        *) die "images.sh: no group '$group'; the groups are: demo test" ;;
    esac
done

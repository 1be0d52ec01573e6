#!/usr/bin/env bash
# Builds the wheel of HEAD, with man pages and shell completions: `scripts/wheel.sh [DIRECTORY]` (default: dist).
# The version is that of the tag (v1.2.3); between two tags it is a development version of the next one.
. "$(dirname "$0")/setup.sh"

TARGET=${1:-$ROOT/dist}
setup_dev

# version_of_head: 1.2.3 at the tag v1.2.3, 1.2.4.dev5+g0123abc five commits later, without a tag that of pyproject.toml.
version_of_head() {
    local described=$1 declared=$2
    if [[ $described =~ ^v([0-9]+\.[0-9]+\.)([0-9]+)-([0-9]+)-(g[0-9a-f]+)$ ]]; then
        if [ "${BASH_REMATCH[3]}" = 0 ]; then
            printf '%s%s\n' "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}"
        else
            printf '%s%s.dev%s+%s\n' "${BASH_REMATCH[1]}" "$((BASH_REMATCH[2] + 1))" "${BASH_REMATCH[@]:3:2}"
        fi
    else
        printf '%s.dev%s+g%s\n' "$declared" "$(git -C "$ROOT" rev-list --count HEAD)" \
            "$(git -C "$ROOT" rev-parse --short HEAD)"
    fi
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
declared=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$ROOT/pyproject.toml")
version=$(version_of_head "$(git -C "$ROOT" describe --tags --long --match 'v[0-9]*' 2>/dev/null || :)" "$declared")
say "building Longshore $version"
git -C "$ROOT" archive --prefix=source/ HEAD | tar -x -C "$work"
sed -i "s/^version = .*/version = \"$version\"/" "$work/source/pyproject.toml"
sed -i "s/^VERSION = .*/VERSION = \"$version\"/" "$work/source/protocol/__init__.py"
pip_install --no-deps --target "$work/tools" --require-hashes --requirement "$ROOT/packaging/requirements.txt"
export SOURCE_DATE_EPOCH SOURCE_DATE
SOURCE_DATE_EPOCH=$(git -C "$ROOT" log -1 --format=%ct) SOURCE_DATE=$(git -C "$ROOT" log -1 --format=%cs)
(cd "$work/source" && PYTHONPATH=$work/source:$work/tools "$VENV/bin/python" scripts/manual.py build/share)
quietly "$VENV/bin/python" -m pip wheel --disable-pip-version-check --no-deps --no-build-isolation \
    --wheel-dir "$TARGET" "$work/source" || die "the wheel could not be built; its message is above"
printf '%s\n' "$TARGET/longshore-$version-py3-none-any.whl"

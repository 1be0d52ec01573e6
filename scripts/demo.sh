#!/usr/bin/env bash
# Runs examples/demo as a small team would: a coordinator, two workers, and `longshore run` as their client, each a
# separate process. Removes everything it created when it ends. Requires `make setup`.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

LONGSHORE=$VENV/bin/longshore
WORK=$(mktemp -d "${TMPDIR:-/tmp}/longshore-demo.XXXXXX")
export LONGSHORE_STATE=$WORK/state
PIDS=()

stop_all() {
    local number
    for ((number = ${#PIDS[@]} - 1; number >= 0; number--)); do # workers first
        kill "${PIDS[number]}" 2>/dev/null || true
        wait "${PIDS[number]}" 2>/dev/null || true
    done
    rm -rf "$WORK"
}
trap stop_all EXIT
trap 'exit 130' INT TERM

# show COMMAND...: prints a command as typed at a prompt.
show() { printf '\n$ %s\n' "$*"; }

# start NAME ARGUMENT...: starts a longshore process in the background, with its log in a file.
start() {
    local name=$1
    shift
    show "longshore $* &"
    "$LONGSHORE" "$@" >"$WORK/$name.out" 2>"$WORK/$name.log" &
    PIDS+=($!)
}

# The pipeline is in a repository of its own, like a user's.
cp -R "$ROOT/examples/demo" "$WORK/demo"
cd "$WORK/demo"
if have git; then
    export GIT_CONFIG_GLOBAL=/dev/null # ignore the user's signing and hooks
    git init -q .
    git add -A
    git -c user.name=Demo -c user.email=demo@example.com commit -qm "A demo project"
fi

start coordinator coordinator --bind tcp://127.0.0.1:0
for ((tries = 0; tries < 100; tries++)); do
    [ -s "$WORK/coordinator.out" ] && break
    kill -0 "${PIDS[0]}" 2>/dev/null || break
    sleep 0.1
done
if [ ! -s "$WORK/coordinator.out" ]; then
    cat "$WORK/coordinator.log" >&2
    die "the coordinator did not start; its log is above"
fi
LONGSHORE_COORDINATOR=$(head -n 1 "$WORK/coordinator.out")
start worker-1 worker --coordinator "$LONGSHORE_COORDINATOR" --name worker-1 --slots 2
start worker-2 worker --coordinator "$LONGSHORE_COORDINATOR" --name worker-2 --slots 2

export LONGSHORE_COORDINATOR
show "export LONGSHORE_COORDINATOR=$LONGSHORE_COORDINATOR"
show "longshore run"
status=0
"$LONGSHORE" run || status=$?
show "longshore workers"
"$LONGSHORE" workers
if [ "$status" != 0 ]; then
    tail -n 20 "$WORK"/*.log >&2
fi
exit "$status"

# Entry of a job's container, in bash if the image has it, else in its sh: waits at a gate, runs the hook, if any, the
# script, then after_script. A hook that fails is the end: neither of the others runs. POSIX sh with builtins only (and sleep, if present), so that it works in any image with a shell.
# It comes in the environment, as do the scripts, so that no process has their text in its command line, where
# `pkill -f` would find it. Comments are stripped first.
#
# A small workspace comes in the environment too, for a root container whose image has tar and base64. With
# LONGSHORE_OPEN the project's directory, which the engine has created, becomes writable by everybody: the engine's own
# way takes ten times as long.
#
# Lines on stdin: `begin` discards earlier input, `+TEXT` is a line of shell to evaluate first (final variables), `go`
# opens the gate (`go SECONDS COUNTS`: time limit of after_script, and whether its failure counts, 1 or 0); after that
# `stop STATUS GRACE` ends the script: SIGTERM to all its processes, SIGKILL after GRACE seconds, and after_script's
# CI_JOB_STATUS is STATUS (`expired` is `failed`, for a script that took too long). All of them may be repeated, also
# by another daemon.
# `lease SECONDS`, before `go` and repeatedly after it: unless the next one comes in time, everything ends with exit
# code 75 and without a last line. A job that may be restarted elsewhere thus does not outlive its daemon here.
#
# With LONGSHORE_KEEP this shell does not end with the scripts, so that people can look at what they have left: its
# worker removes the container.
#
# The script writes only to stdout. stderr reports to the daemon that this shell reads its stdin (an entrypoint of the
# image may delay that), and that the gate has opened. The last line on stdout marks the log as complete (and ends an
# unterminated last line), and carries the script's exit code and whether memory or time ran out: the engine takes some
# 60 ms longer to see the container's end. All of these marks are removed from the log.

exec 3>&2 2>/dev/null 4<&0 </dev/null
trap : TERM
trap 'longshore_status=canceled' USR1
trap 'longshore_status=failed' USR2
trap 'longshore_status=failed longshore_expired=1' VTALRM
trap 'exit 75' ALRM
set +eu --

# longshore_join NAME PIECES: puts the pieces of a text together.
longshore_join() {
	longshore_line=0
	longshore_text=
	while [ "$longshore_line" -lt "$2" ]; do
		eval "longshore_text=\$longshore_text\$LONGSHORE_$1_$longshore_line; unset LONGSHORE_$1_$longshore_line"
		longshore_line=$((longshore_line + 1))
	done
}
longshore_join SCRIPT "$LONGSHORE_SCRIPT_PIECES"
longshore_script=$longshore_text
longshore_join AFTER "$LONGSHORE_AFTER_PIECES"
longshore_after=$longshore_text
longshore_join HOOK "${LONGSHORE_HOOK_PIECES:-0}"
longshore_hook=$longshore_text
if [ -n "$LONGSHORE_WORKSPACE" ]; then
	longshore_line=$(printf %s "$LONGSHORE_WORKSPACE" | PATH=/bin:/usr/bin base64 -d |
		TAR_OPTIONS='' PATH=/bin:/usr/bin tar -xopf - -C "$LONGSHORE_DIRECTORY" 2>&1) || {
		printf 'the workspace can not be unpacked: %s\n' "$longshore_line" >&3
		exit 71
	}
	unset LONGSHORE_WORKSPACE
fi
if [ -n "$LONGSHORE_OPEN" ]; then
	PATH=/bin:/usr/bin chmod 777 "$LONGSHORE_DIRECTORY"
	unset LONGSHORE_OPEN
fi
printf '\036longshore ready\n' >&3
longshore_directory=$LONGSHORE_DIRECTORY
longshore_keep=$LONGSHORE_KEEP
unset LONGSHORE_KEEP LONGSHORE_ENTRY LONGSHORE_SCRIPT_PIECES LONGSHORE_AFTER_PIECES LONGSHORE_HOOK_PIECES LONGSHORE_DIRECTORY

# Run by a new shell with the text in $1: the first failing command ends it.
longshore_run='exec 2>&1 3>&- 4<&-
trap - TERM USR1 USR2 ALRM VTALRM
cd "$longshore_directory" || exit 1
unset longshore_script longshore_after longshore_hook longshore_text longshore_seconds longshore_counts longshore_directory longshore_final
unset longshore_line longshore_expired longshore_keep
unset longshore_lease longshore_listener longshore_run longshore_status longshore_code longshore_spared
unset longshore_process longshore_found longshore_oom longshore_file
unset -f longshore_join longshore_signal longshore_expire longshore_prolong longshore_listen
set -o errexit
set +o noclobber
eval "set --
$1"'
case $(set -o) in *pipefail*) longshore_run="set -o pipefail
$longshore_run" ;; esac

# The script's processes are all but this one and its ancestors: the image's entrypoint may still be running.
longshore_spared=" $$ "
longshore_process=$$
while [ "$longshore_process" -gt 1 ]; do
	while read -r longshore_line longshore_process; do
		[ "$longshore_line" = PPid: ] && break
	done <"/proc/$longshore_process/status"
	longshore_spared="$longshore_spared$longshore_process "
done

# longshore_signal SIGNAL: signals the script's processes, except the caller. Succeeds if there are any.
longshore_signal() {
	read -r longshore_line longshore_process </proc/self/stat
	longshore_found="$longshore_spared$longshore_line "
	longshore_line=1
	for longshore_process in /proc/[0-9]*; do
		longshore_process=${longshore_process#/proc/}
		case $longshore_found in
		*" $longshore_process "*) ;;
		*) kill "-$1" "$longshore_process" && longshore_line=0 ;;
		esac
	done
	return "$longshore_line"
}

# longshore_expire SECONDS LISTENER: ends everything after this time, unless its listener ends before. Checks every
# second, so that a postponed one ends soon too.
longshore_expire() {
	longshore_left=$1
	while [ "$longshore_left" -gt 0 ]; do
		sleep 1 && kill -0 "$2" || exit
		longshore_left=$((longshore_left - 1))
	done
	kill -ALRM $$
	longshore_signal KILL
}

# longshore_prolong SECONDS: postpones the end of the lease.
longshore_prolong() {
	[ -z "$longshore_watch" ] || kill -KILL "$longshore_watch"
	read -r longshore_line longshore_process </proc/self/stat
	longshore_expire "$1" "$longshore_line" &
	longshore_watch=$!
}

# The listener: ends the script, or postpones the end of its lease.
longshore_listen() {
	longshore_watch=
	[ -z "$longshore_lease" ] || longshore_prolong "$longshore_lease"
	while read -r longshore_verb longshore_word longshore_grace; do
		case $longshore_verb in
		lease) longshore_prolong "$longshore_word" ;;
		stop) [ -z "$longshore_script" ] || break ;;
		esac
	done
	[ "$longshore_verb" = stop ] || exit
	case $longshore_word in canceled) kill -USR1 $$ ;; expired) kill -VTALRM $$ ;; *) kill -USR2 $$ ;; esac
	longshore_signal TERM
	longshore_left=$((longshore_grace * 10))
	while [ "$longshore_left" -gt 0 ] && longshore_signal 0; do
		if sleep 0.1; then
			longshore_left=$((longshore_left - 1))
		else
			sleep 1 || longshore_left=0
			longshore_left=$((longshore_left - 10))
		fi
	done
	longshore_signal KILL
	exit
}

longshore_final=
longshore_lease=
while :; do
	IFS= read -r longshore_line <&4 || exit 70
	case $longshore_line in
	begin) longshore_final= ;;
	lease\ *) longshore_lease=${longshore_line#lease } ;;
	go\ *)
		longshore_line=${longshore_line#go }
		longshore_seconds=${longshore_line% *}
		longshore_counts=${longshore_line#* }
		break
		;;
	+*)
		longshore_final="$longshore_final${longshore_line#+}
"
		;;
	esac
done
printf '\036longshore released\n' >&3
eval "$longshore_final"

longshore_listen <&4 >/dev/null 3>&- 4<&- &
longshore_listener=$!

longshore_status=
longshore_expired=
longshore_code=0
if [ -n "$longshore_hook" ]; then
	(
		set -- "$longshore_hook"
		longshore_directory=${longshore_directory%/*}/
		eval "$longshore_run"
	) </dev/null
	longshore_code=$?
	[ "$longshore_code$longshore_status" = 0 ] || longshore_after=
fi
if [ "$longshore_code$longshore_status" = 0 ]; then
	(
		set -- "$longshore_script"
		eval "$longshore_run"
	) </dev/null
	longshore_code=$?
fi
if [ -n "$longshore_status" ]; then
	wait "$longshore_listener"
	longshore_listener=
elif [ -n "$longshore_after" ]; then
	kill -KILL "$longshore_listener"
	wait "$longshore_listener"
	longshore_listener=
	longshore_status=success
	[ "$longshore_code" = 0 ] || longshore_status=failed
	longshore_script=
	[ -z "$longshore_lease" ] || longshore_listen <&4 >/dev/null 3>&- 4<&- &
fi

# Whether the kernel has killed a process for lack of memory; the engine may notice too late.
longshore_oom=${longshore_expired:+2}
longshore_oom=${longshore_oom:-0}
for longshore_file in /sys/fs/cgroup/memory.events /sys/fs/cgroup/memory/memory.oom_control; do
	[ -r "$longshore_file" ] || continue
	while read -r longshore_line longshore_process; do
		[ "$longshore_line" != oom_kill ] || [ "$longshore_process" = 0 ] || longshore_oom=1
	done <"$longshore_file"
done

if [ -n "$longshore_after" ]; then
	export CI_JOB_STATUS="$longshore_status"
	(
		sleep "$longshore_seconds" && longshore_signal TERM
		sleep 5 && longshore_signal KILL
	) >/dev/null 3>&- 4<&- &
	(
		set -- "$longshore_after"
		eval "$longshore_run"
	) </dev/null
	longshore_line=$?
	[ -z "$longshore_keep" ] || kill -KILL "$!"
	[ "$longshore_code $longshore_counts" != "0 1" ] || longshore_code=$longshore_line
fi
printf '\036longshore end %d %d\n' "$longshore_code" "$longshore_oom"
[ -z "$longshore_listener" ] || kill -KILL "$longshore_listener"

while [ -n "$longshore_keep" ] && read -r longshore_line <&4; do :; done

# Tearing down a container keeps the engine busy. Everything that waits for this script's end must begin first.
sleep 0.02
exit "$longshore_code"

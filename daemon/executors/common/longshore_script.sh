#!/bin/sh
# longshore-script [--list | --from LINE]: runs the script of this job again, from a line on; --list shows the lines.
[ -n "$BASH_VERSION" ] || for longshore_shell in /usr/local/bin/bash /usr/bin/bash /bin/bash; do
	[ ! -x "$longshore_shell" ] || exec "$longshore_shell" "$0" "$@"
done
longshore_from=1
longshore_list=
case $#:$1 in
0:) ;;
1:--list) longshore_list=1 ;;
2:--from) longshore_from=$2 ;;
1:--from=*) longshore_from=${1#--from=} ;;
*)
	printf '%s\n' 'usage: longshore-script [--list | --from LINE]' \
		"Runs the job's before_script and script again, from line LINE on; --list shows the lines." >&2
	[ "$1" = --help ] || [ "$1" = -h ]
	exit $(($? * 2))
	;;
esac
case $longshore_from in
'' | *[!0-9]* | 0*)
	printf 'longshore-script: --from: %s is not the number of a line\n' "$longshore_from" >&2
	exit 2
	;;
esac

longshore_newline='
'
longshore_number=0
longshore_text=
longshore_command=
longshore_begun=

# longshore_add: adds the command, and its echo as in the log, to the text.
longshore_add() {
	[ -n "$longshore_begun" ] || return 0
	longshore_rest="$ $longshore_command"
	case $longshore_command in
	*"$longshore_newline"*) longshore_rest="$ ${longshore_command%%"$longshore_newline"*} # collapsed multi-line command" ;;
	esac
	longshore_quoted=
	while :; do
		case $longshore_rest in *\'*) ;; *) break ;; esac
		longshore_quoted="$longshore_quoted${longshore_rest%%\'*}'\\''"
		longshore_rest=${longshore_rest#*\'}
	done
	longshore_text="$longshore_text{ printf '%s\\n' '$longshore_quoted$longshore_rest'; } 2>/dev/null
$longshore_command
"
	longshore_begun=
}

while IFS= read -r longshore_line; do
	longshore_number=$((longshore_number + 1))
	if [ -n "$longshore_list" ]; then
		printf '%4d  %s\n' "$longshore_number" "${longshore_line#?}"
		continue
	fi
	[ "$longshore_number" -ge "$longshore_from" ] || continue
	case $longshore_begun$longshore_line in
	1\|*) longshore_command=$longshore_command$longshore_newline${longshore_line#?} ;;
	*)
		longshore_add
		longshore_command=${longshore_line#?}
		;;
	esac
	longshore_begun=1
done <<'LONGSHORE_LINES'
@LINES@LONGSHORE_LINES
[ -z "$longshore_list" ] || exit 0
if [ "$longshore_from" -gt "$longshore_number" ]; then
	printf 'longshore-script: the script has %d lines; see longshore-script --list\n' "$longshore_number" >&2
	exit 2
fi
longshore_add
cd @DIRECTORY@ || exit 1
set -- "$longshore_text"
unset longshore_shell longshore_from longshore_list longshore_newline longshore_number longshore_text longshore_command
unset longshore_begun longshore_rest longshore_quoted longshore_line
unset -f longshore_add
case $(set -o) in *pipefail*) set -o pipefail ;; esac
set -o errexit
eval "set --
$1"

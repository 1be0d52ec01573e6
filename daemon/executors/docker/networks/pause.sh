# Script of the container that holds a network for successive jobs of its own image (see `pool.py`). POSIX sh with
# builtins only, and `ls` if present. It writes `ready`, then answers each line on stdin with the traces that the last
# job left in the network: `changed` if a file was modified that Docker shares with joining containers, `busy` if a
# connection is not over, else `clean`.

exec 2>/dev/null
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

shared() {
	for file in /etc/hosts /etc/hostname /etc/resolv.conf; do
		ls -ln "$file"
		while IFS= read -r line || [ -n "$line" ]; do
			printf '%s\n' "$line"
		done <"$file" || printf 'unreadable\n'
	done
}

# Each of these files has a header line, then one line for each connection or listener.
busy() {
	for file in /proc/net/tcp /proc/net/tcp6; do
		[ -r "$file" ] || continue
		lines=0
		while read -r line; do
			lines=$((lines + 1))
		done <"$file"
		[ "$lines" -le 1 ] || return 0
	done
	return 1
}

first=$(shared)
printf 'ready\n'
while read -r line; do
	if [ "$(shared)" != "$first" ]; then
		printf 'changed\n'
	elif busy; then
		printf 'busy\n'
	else
		printf 'clean\n'
	fi
done

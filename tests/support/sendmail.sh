#!/bin/sh
# Stands in for sendmail: keeps its arguments and its input beside the link by which it is called,
# and fails where there is a file named "fail".
here=$(dirname "$0")
printf '%s\n' "$@" > "$here/arguments"
cat > "$here/input"
if [ -e "$here/fail" ]; then
    echo "no such user: alice@example.org" >&2
    exit 67
fi

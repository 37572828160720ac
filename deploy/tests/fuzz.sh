#!/bin/sh
# Fuzzes every fuzz test of the module, one after the other.
#
#   deploy/tests/fuzz.sh [TIME]      TIME for each, say 30s (the default) or 10000x
set -eu
cd "$(dirname "$0")/../.."
each=${1:-30s}

grep -rl --include='*_test.go' '^func Fuzz' broker cmd gc metadata segment tiering | sort | while read -r file; do
	sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$file" | while read -r name; do
		echo "fuzz $(dirname "$file") $name for $each"
		go test -run '^$' -fuzz "^$name\$" -fuzztime "$each" "./$(dirname "$file")" </dev/null
	done
done

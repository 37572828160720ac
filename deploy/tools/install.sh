#!/bin/sh
# Builds the pinned programs that tests, demos and lint need, and keeps them under
# ${FIRN_TOOLS:-$HOME/.cache/firn/tools}/NAME-VERSION/NAME. What is there already is left alone, so
# running it again costs nothing. Needs only Go and its module proxy.
#
#   deploy/tools/install.sh [NAME...]      all of toolbox/versions.txt, or only those named
#   deploy/tools/install.sh --path NAME    prints where one is, or would be
set -eu

here=$(cd "$(dirname "$0")" && pwd)
tools=${FIRN_TOOLS:-$HOME/.cache/firn/tools}
pins=$here/toolbox/versions.txt

# pinned [NAME] prints "NAME VERSION PACKAGE", one a line.
pinned() {
	awk -v want="${1:-}" '!/^#/ && NF == 3 && (want == "" || $1 == want)' "$pins"
}

# build PACKAGE VERSION DIR leaves the program in DIR under the name Go gives it.
build() {
	case $1 in
	./*) (cd "$here/$1" && GOFLAGS='' go build -buildvcs=false -o "$3/" .) ;;
	*) GOFLAGS='' GOBIN=$3 go install "$1@$2" ;;
	esac
}

install_one() {
	name=$1 version=$2 package=$3
	target=$tools/$name-$version/$name
	if [ -x "$target" ]; then
		echo "have $name $version"
		return
	fi
	echo "building $name $version (once; kept in $tools)"
	mkdir -p "$tools"
	tmp=$(mktemp -d "$tools/.build-XXXXXX")
	trap 'rm -rf "$tmp"' EXIT INT TERM
	# A module proxy hiccup is the usual failure, so one more try.
	build "$package" "$version" "$tmp" || {
		echo "building $name failed, trying once more" >&2
		sleep 2
		build "$package" "$version" "$tmp"
	}
	# The rename is what publishes, so nobody ever runs half a program.
	mkdir -p "$(dirname "$target")"
	mv -f "$tmp"/* "$target"
	rm -rf "$tmp"
	trap - EXIT INT TERM
}

if [ "${1:-}" = --path ]; then
	# shellcheck disable=SC2046 # three words, on purpose
	set -- $(pinned "$2")
	echo "$tools/$1-$2/$1"
	exit
fi
command -v go >/dev/null || {
	echo "install.sh: needs Go (https://go.dev/dl) on the PATH" >&2
	exit 1
}
for name in "$@"; do
	[ -n "$(pinned "$name")" ] || {
		echo "install.sh: no program is called '$name'; there are:" $(pinned | cut -d' ' -f1) >&2
		exit 2
	}
done
[ $# -gt 0 ] || set -- $(pinned | cut -d' ' -f1)
for name in "$@"; do
	# shellcheck disable=SC2046 # three words, on purpose
	install_one $(pinned "$name")
done

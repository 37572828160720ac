#!/bin/sh
# Builds the images firn-local/firn, firn-local/etcd and firn-local/minio from bin/firn and the pinned programs of
# deploy/tools/install.sh. No registry is asked for anything. DOCKER is another command than docker.
set -eu
cd "$(dirname "$0")/.."
docker=${DOCKER:-docker}

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' INT TERM

tool() { deploy/tools/install.sh --path "$1"; }
# image NAME DIR PROGRAM... builds one with the programs in DIR, and the C library where they were built to use one.
image() {
	name=$1 dir=$tmp/$1/root$2
	shift 2
	mkdir -p "$dir" "$tmp/$name/data"
	for program in "$@"; do
		[ -x "$program" ] || {
			echo "images.sh: there is no $program yet: deploy/tools/install.sh minio etcd etcdctl; make build" >&2
			exit 1
		}
		cp "$program" "$dir/"
		ldd "$program" 2>/dev/null | grep -o '/[^ ]*' | while read -r lib; do
			cp -L --parents "$lib" "$tmp/$name/root"
		done
	done
	$docker build --quiet --file deploy/Dockerfile.local --target "$name" --tag "firn-local/$name" "$tmp/$name"
}
image firn / bin/firn
image etcd /usr/local/bin "$(tool etcd)" "$(tool etcdctl)"
image minio /usr/local/bin "$(tool minio)"

#!/usr/bin/env bash
# The tests that need root: power cuts and full disks on loop-mounted file systems of their own, cut networks, and chaos.
# They run among processes, mounts and in a network that nobody else is in, and all of these end with the tests, however
# those end. Says at once what is missing. Arguments are those of a Go test, such as -test.run TestChaos.
set -euo pipefail
cd "$(dirname "$0")/../.."
missing=()
[ "$(id -u)" = 0 ] || missing+=("root")
for need in go mount umount mkfs.ext4 mkfs.xfs xfs_io fallocate unshare nsenter ip nft; do
  command -v "$need" >/dev/null || missing+=("$need")
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "test-root: not to be had here: ${missing[*]} (Debian: xfsprogs e2fsprogs mount util-linux iproute2 nftables)" >&2
  exit 1
fi
# Built first: the network of the tests reaches no module.
export FIRN_BIN=$PWD/bin/firn-under-test FIRN_TEST_OWN_NETWORK=true
export CGO_ENABLED=0 # as it is shipped
go build -o "$FIRN_BIN" ./cmd/firn
go test -tags root -c -o bin/root.test ./cmd/firn
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd cmd/firn
# Mounts are shared with the processes that the tests start, and with nobody outside.
TMPDIR=$work unshare --net --mount --propagation private --pid --fork --kill-child --mount-proc sh -c '
  mount --make-rshared / && ip link set lo up && exec ../../bin/root.test -test.v -test.timeout 20m \
  -test.run "TestPowerCuts|TestFullDisk|TestNetworkCuts|TestChaos" "$@"' root.sh "$@"

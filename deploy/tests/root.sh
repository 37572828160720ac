#!/usr/bin/env bash
# The tests that need root: power cuts and full disks on loop-mounted file systems of their own. Says at once
# what is missing.
set -euo pipefail
cd "$(dirname "$0")/../.."
missing=()
[ "$(id -u)" = 0 ] || missing+=("root")
for need in go mount umount mkfs.ext4 mkfs.xfs xfs_io; do
  command -v "$need" >/dev/null || missing+=("$need")
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "test-root: not to be had here: ${missing[*]} (Debian: xfsprogs e2fsprogs mount)" >&2
  exit 1
fi
go test -tags root -count=1 -timeout 20m -run 'TestPowerCuts|TestFullDisk' "$@" ./cmd/firn

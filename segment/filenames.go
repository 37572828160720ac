package segment

import (
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// Files of a disk, in its directory.
const (
	lockName        = "lock"
	metaName        = "meta"
	cleanName       = "CLEAN"
	failedName      = "FAILED"
	spareName       = "spare"
	checkpointAName = "ckpt-a"
	checkpointBName = "ckpt-b"

	// deletedSuffix marks the directory of a removed partition until its files are gone.
	deletedSuffix = ".deleted"
	// asideSuffix marks the directory of a damaged log until the checkpoint has forgotten it, damagedSuffix from
	// then on.
	asideSuffix   = ".aside"
	damagedSuffix = ".damaged"
)

// Files of a partition, in its directory. Those of a segment are named by its base offset in 20 digits,
// a snapshot by the offset that it is the state before.
const (
	stateName  = "state"
	logSuffix  = ".log"
	idxSuffix  = ".idx"
	snapSuffix = ".snap"
	tmpSuffix  = ".tmp"

	offsetDigits = 20
)

// dirName is the partition's directory within the disk's. It has the topic's id and not its name, so
// that a topic made anew under an old name never sees the old bytes.
func dirName(r Ref) string {
	return hex.EncodeToString(r.ID[:]) + "-" + strconv.Itoa(int(r.Index))
}

func parseDirName(name string) (r Ref, ok bool) {
	id, index, ok := strings.Cut(name, "-")
	if !ok || len(id) != 2*len(r.ID) {
		return r, false
	}
	if _, err := hex.Decode(r.ID[:], []byte(id)); err != nil {
		return r, false
	}
	n, err := strconv.ParseInt(index, 10, 32)
	if err != nil || n < 0 {
		return r, false
	}
	r.Index = int32(n)
	return r, dirName(r) == name
}

// parseTakenAway tells whose a directory was that has been renamed, to be deleted or to be kept as damaged.
func parseTakenAway(name string) (Ref, bool) {
	dir, _, _ := strings.Cut(name, ".")
	return parseDirName(dir)
}

func offsetName(offset int64, suffix string) string {
	return fmt.Sprintf("%0*d%s", offsetDigits, offset, suffix)
}

// parseOffsetName is the inverse of offsetName.
func parseOffsetName(name string) (offset int64, suffix string, ok bool) {
	if len(name) <= offsetDigits || name[offsetDigits] != '.' {
		return 0, "", false
	}
	n, err := strconv.ParseUint(name[:offsetDigits], 10, 63)
	if err != nil {
		return 0, "", false
	}
	return int64(n), name[offsetDigits:], true
}

func (l *Log) path(name string) string               { return filepath.Join(l.dir, name) }
func (l *Log) offsetPath(off int64, s string) string { return l.path(offsetName(off, s)) }

package topic

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
)

// ID is a topic's identity for life: the 16 bytes Kafka calls a topic id. A topic that is deleted and
// created again under the same name has another ID, so nothing kept under one can reach the other.
type ID [16]byte

// The ids Kafka keeps for itself: the zero id means "no id" on the wire, the next two name the metadata
// topic and a removed replica.
var (
	zeroID     = ID{}
	oneID      = ID{15: 1}
	metadataID = oneID
	unusedID   = ID{15: 2}
)

// idEncoding is Kafka's text form of an id: base64 with the URL alphabet and no padding, 22 characters.
var idEncoding = base64.RawURLEncoding.Strict()

// NewID returns a fresh random id (a version 4 UUID) that is none of Kafka's reserved ids and whose text
// does not begin with '-', so that it can stand on a command line.
func NewID() ID {
	for {
		var id ID
		_, _ = rand.Read(id[:]) // never fails: crypto/rand aborts the process instead
		id[6] = id[6]&0x0f | 0x40
		id[8] = id[8]&0x3f | 0x80
		if !id.Reserved() && id.String()[0] != '-' {
			return id
		}
	}
}

// ParseID reads the form String writes.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != idEncoding.EncodedLen(len(id)) {
		return ID{}, fmt.Errorf("topic id %q: want %d characters of URL-safe base64", s, idEncoding.EncodedLen(len(id)))
	}
	if _, err := idEncoding.Decode(id[:], []byte(s)); err != nil {
		return ID{}, fmt.Errorf("topic id %q: %w", s, err)
	}
	return id, nil
}

// ParseHex reads the form Hex writes: 32 lower-case hexadecimal digits.
func ParseHex(s string) (ID, error) {
	var id ID
	if len(s) != hex.EncodedLen(len(id)) {
		return ID{}, fmt.Errorf("topic id %q: want %d hexadecimal digits", s, hex.EncodedLen(len(id)))
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return ID{}, fmt.Errorf("topic id %q: %w", s, err)
	}
	if id.Hex() != s {
		return ID{}, fmt.Errorf("topic id %q: want lower-case hexadecimal digits", s)
	}
	return id, nil
}

// String returns Kafka's text form, as its tools print it: 22 characters of URL-safe base64.
func (id ID) String() string { return idEncoding.EncodeToString(id[:]) }

// Hex returns 32 lower-case hexadecimal digits, for names on file systems that ignore case and for keys
// that must sort as the bytes do.
func (id ID) Hex() string { return hex.EncodeToString(id[:]) }

// IsZero reports whether id is the zero id, which on the wire means that no id is given.
func (id ID) IsZero() bool { return id == zeroID }

// Reserved reports whether Kafka keeps id for itself, so that no topic may have it.
func (id ID) Reserved() bool { return id == zeroID || id == metadataID || id == unusedID }

// Partition names one partition of one topic.
type Partition struct {
	ID    ID
	Index int32
}

// String returns the topic's id and the partition number, "<id>-<index>" with the id in Kafka's text form.
func (p Partition) String() string { return p.ID.String() + "-" + strconv.Itoa(int(p.Index)) }

// Compare orders partitions by the bytes of their topic's id, then by number.
func (p Partition) Compare(o Partition) int {
	for i := range p.ID {
		if p.ID[i] != o.ID[i] {
			return int(p.ID[i]) - int(o.ID[i])
		}
	}
	return int(p.Index) - int(o.Index)
}

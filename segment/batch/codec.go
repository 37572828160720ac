package batch

import "fmt"

// Codec is how a batch's records are compressed; its values are those of the attribute bits.
type Codec uint8

// The codecs of format v2.
const (
	None Codec = iota
	Gzip
	Snappy
	LZ4
	Zstd
)

var codecNames = [...]string{None: "none", Gzip: "gzip", Snappy: "snappy", LZ4: "lz4", Zstd: "zstd"}

// Valid says whether c is one of the codecs above.
func (c Codec) Valid() bool { return int(c) < len(codecNames) }

// String is the codec's name in Kafka's settings, except that no compression is "none".
func (c Codec) String() string {
	if !c.Valid() {
		return fmt.Sprintf("codec %d", uint8(c))
	}
	return codecNames[c]
}

// ParseCodec is the inverse of String; "uncompressed" means None too.
func ParseCodec(name string) (Codec, error) {
	if name == "uncompressed" {
		return None, nil
	}
	for c, n := range codecNames {
		if n == name {
			return Codec(c), nil
		}
	}
	return None, fmt.Errorf("unknown compression codec %q", name)
}

package wire

import (
	"encoding/binary"
	"fmt"
)

// principalVersion is that of Kafka's DefaultPrincipalData, in which brokers tell each other for whom they speak.
const principalVersion = 0

// AppendTo appends the principal as an envelope carries it.
func (p Principal) AppendTo(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, principalVersion)
	for _, s := range [...]string{p.Type, p.Name} {
		b = binary.AppendUvarint(b, uint64(len(s))+1)
		b = append(b, s...)
	}
	return append(b, 0, 0) // not by a delegation token; no tagged fields
}

// ParsePrincipal reads what AppendTo has written. Its errors wrap ErrMalformed.
func ParsePrincipal(b []byte) (Principal, error) {
	if len(b) < 2 || binary.BigEndian.Uint16(b) != principalVersion {
		return Principal{}, fmt.Errorf("%w: principal of an unknown version", ErrMalformed)
	}
	b = b[2:]
	var parts [2]string
	for i := range parts {
		n, rest, ok := uvarint(b)
		if !ok || n < 2 || uint64(n)-1 > uint64(len(rest)) {
			return Principal{}, fmt.Errorf("%w: principal cut off or empty", ErrMalformed)
		}
		parts[i], b = string(rest[:n-1]), rest[n-1:]
	}
	if len(b) == 0 {
		return Principal{}, fmt.Errorf("%w: principal cut off", ErrMalformed)
	}
	if _, err := skipTags(b[1:]); err != nil {
		return Principal{}, fmt.Errorf("principal: %w", err)
	}
	return Principal{Type: parts[0], Name: parts[1]}, nil
}

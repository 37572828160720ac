package topic

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

func TestNewID(t *testing.T) {
	seen := map[ID]bool{}
	for range 5000 {
		id := NewID()
		s := id.String()
		switch {
		case seen[id]:
			t.Fatalf("%s came twice", s)
		case s[0] == '-':
			t.Fatalf("%s starts with '-'", s)
		case id.Reserved() || id.IsZero():
			t.Fatalf("%s is reserved", s)
		case id[6]>>4 != 4 || id[8]>>6 != 2:
			t.Fatalf("%x is no version 4 UUID", id[:])
		}
		seen[id] = true
	}
}

func TestIDTextForms(t *testing.T) {
	tests := []struct {
		name, text, hex string
	}{
		{"zero", "AAAAAAAAAAAAAAAAAAAAAA", "00000000000000000000000000000000"},
		{"kafka's metadata topic", "AAAAAAAAAAAAAAAAAAAAAQ", "00000000000000000000000000000001"},
		{"both odd letters", "-_-_-_-_-_-_-_-_-_-_-w", "fbffbffbffbffbffbffbffbffbffbffb"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			id, err := ParseID(tt.text)
			if err != nil {
				t.Fatal(err)
			}
			if id.Hex() != tt.hex || id.String() != tt.text {
				t.Fatalf("got %s and %s, want %s and %s", id.Hex(), id, tt.hex, tt.text)
			}
			back, err := ParseHex(tt.hex)
			if err != nil || back != id {
				t.Fatalf("ParseHex: %v, %v", back, err)
			}
		})
	}
	for _, id := range []ID{zeroID, metadataID, unusedID} {
		if !id.Reserved() {
			t.Errorf("%s is not reserved", id)
		}
	}
}

func TestParseIDRefuses(t *testing.T) {
	for _, s := range []string{"", "AAAA", "AAAAAAAAAAAAAAAAAAAAAA==", "AAAAAAAAAAAAAAAAAAAAAB", "AAAAAAAAAAAAAAAAAAAA+A", "AAAAAAAAAAA\nAAAAAAAAAA"} {
		if id, err := ParseID(s); err == nil {
			t.Errorf("ParseID(%q) = %s", s, id)
		}
	}
	for _, s := range []string{"", "00", strings.Repeat("g", 32), strings.Repeat("A", 32)} {
		if id, err := ParseHex(s); err == nil {
			t.Errorf("ParseHex(%q) = %s", s, id)
		}
	}
}

func TestPartitionCompare(t *testing.T) {
	a, b := ID{1}, ID{200}
	want := []Partition{{a, 0}, {a, 2}, {b, 0}, {b, 1}}
	got := []Partition{want[3], want[1], want[2], want[0]}
	slices.SortFunc(got, Partition.Compare)
	if !slices.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	if s := want[1].String(); s != "AQAAAAAAAAAAAAAAAAAAAA-2" {
		t.Fatalf("String() = %s", s)
	}
}

func FuzzParseID(f *testing.F) {
	f.Add("AAAAAAAAAAAAAAAAAAAAAA")
	f.Add("-_-_-_-_-_-_-_-_-_-_-w")
	f.Add("fbffbffbffbffbffbffbffbffbffbffb")
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := ParseID(s); err == nil && id.String() != s {
			t.Fatalf("%q reads as %q", s, id)
		}
		if id, err := ParseHex(s); err == nil && id.Hex() != s {
			t.Fatalf("%q reads as %q", s, id.Hex())
		}
		var id ID
		copy(id[:], s)
		back, err := ParseID(id.String())
		if err != nil || !bytes.Equal(back[:], id[:]) {
			t.Fatalf("%s reads as %v, %v", id, back, err)
		}
	})
}

package wire

import (
	"errors"
	"testing"
)

// A principal arrives as it was sent, and of what is cut off there is an error.
func TestPrincipal(t *testing.T) {
	for _, p := range []Principal{Anonymous, {Type: "User", Name: "alice"}, {Type: "Ü", Name: string(make([]byte, 300))}} {
		b := p.AppendTo(nil)
		got, err := ParsePrincipal(b)
		if err != nil || got != p {
			t.Errorf("%v came as %v, %v", p, got, err)
		}
		for n := range b {
			if _, err := ParsePrincipal(b[:n]); !errors.Is(err, ErrMalformed) {
				t.Errorf("%d bytes of %v: %v", n, p, err)
			}
		}
	}
}

func FuzzParsePrincipal(f *testing.F) {
	f.Add(Anonymous.AppendTo(nil))
	f.Add([]byte{0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParsePrincipal(b)
		if err != nil {
			return
		}
		if again, err := ParsePrincipal(p.AppendTo(nil)); err != nil || again != p {
			t.Errorf("%v came as %v, %v", p, again, err)
		}
	})
}

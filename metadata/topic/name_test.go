package topic

import (
	"errors"
	"strings"
	"testing"
)

func TestValidateName(t *testing.T) {
	good := []string{"a", "logs", "A.b_c-9", "...", "-x", "__consumer_offsets", strings.Repeat("x", 249)}
	for _, n := range good {
		if err := ValidateName(n); err != nil {
			t.Errorf("%q: %v", n, err)
		}
	}
	bad := map[string]string{
		"":                       "empty",
		".":                      "reserved",
		"..":                     "reserved",
		strings.Repeat("x", 250): "at most 249",
		"a b":                    "only ASCII",
		"a/b":                    "only ASCII",
		"größe":                  "only ASCII",
		"a\x00":                  "only ASCII",
		"a:b":                    "only ASCII",
	}
	for n, want := range bad {
		err := ValidateName(n)
		if !errors.Is(err, ErrName) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want one that says %q", n, err, want)
		}
	}
}

func TestCollisions(t *testing.T) {
	if CollisionKey("a.b_c") != CollisionKey("a_b.c") || CollisionKey("a-b") == CollisionKey("a_b") {
		t.Error("'.' and '_' must fold together, and nothing else")
	}
	if !MayCollide("a.b") || !MayCollide("a_b") || MayCollide("a-b") {
		t.Error("only names with '.' or '_' may collide")
	}
}

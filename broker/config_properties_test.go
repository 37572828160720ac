package broker

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseProperties(t *testing.T) {
	tests := []struct {
		name, text string
		want       []Property
	}{
		{"nothing", "", nil},
		{"plain", "a=1\nb = 2 \n  c\t:3", []Property{{"a", "1", 1}, {"b", "2 ", 2}, {"c", "3", 3}}},
		{"comments and blank lines", "# a=1\n\n  ! b=2\nc=3#no\n", []Property{{"c", "3#no", 4}}},
		{"a comment does not go on", "# a \\\nb=1", []Property{{"b", "1", 2}}},
		{"continued", "a = one \\\n    two\\\n\tthree\nb=2", []Property{{"a", "one twothree", 1}, {"b", "2", 4}}},
		{"continued by a line like a comment", "a=1\\\n#2", []Property{{"a", "1#2", 1}}},
		{"an escaped backslash does not continue", "a=1\\\\\nb=2", []Property{{"a", `1\`, 1}, {"b", "2", 2}}},
		{"continued by nothing", "a=1\\", []Property{{"a", "1", 1}}},
		{"other line ends", "a=1\rb=2\r\nc=3", []Property{{"a", "1", 1}, {"b", "2", 2}, {"c", "3", 3}}},
		{"no value", "a\nb=\n=c", []Property{{"a", "", 1}, {"b", "", 2}, {"", "c", 3}}},
		{"space between", "a b c", []Property{{"a", "b c", 1}}},
		{"one separator only", "a==b\nc : = d", []Property{{"a", "=b", 1}, {"c", "= d", 2}}},
		{"escaped separators", `a\=b\:c\ d=e`, []Property{{"a=b:c d", "e", 1}}},
		{"escapes", `a=\t\n\r\f\q\\`, []Property{{"a", "\t\n\r\fq\\", 1}}},
		{"unicode", `a=\u00e9\u20AC\ud83d\ude00é`, []Property{{"a", "é€😀é", 1}}},
		{"half a pair", `a=\ud83dx`, []Property{{"a", "\uFFFDx", 1}}},
		{"twice", "a=1\na=2", []Property{{"a", "1", 1}, {"a", "2", 2}}},
		{"urls need no escape", "listeners=A://h:1,B://[::1]:2", []Property{{"listeners", "A://h:1,B://[::1]:2", 1}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseProperties(tt.text)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	for _, text := range []string{"x=1\na=\\u12", `a=\u12g4`, `\u=1`} {
		if _, err := ParseProperties(text); err == nil || !strings.Contains(err.Error(), "line ") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzParseProperties(f *testing.F) {
	f.Add("a=1\n# c\nb : 2 \\\n  3\n\\u0041=x\\ty")
	f.Add("a\\\r\n\\\\=\\")
	f.Fuzz(func(t *testing.T, text string) {
		props, err := ParseProperties(text)
		if err != nil {
			return
		}
		lines := strings.Count(text, "\n") + strings.Count(text, "\r") + 1
		for i, p := range props {
			if p.Line < 1 || p.Line > lines || i > 0 && p.Line <= props[i-1].Line {
				t.Fatalf("line %d of %d in %q", p.Line, lines, text)
			}
			// Written with every special character escaped, an entry must read as itself.
			again, err := ParseProperties(escapeProperty(p.Key) + "=" + escapeProperty(p.Value))
			if err != nil || len(again) != 1 || again[0].Key != p.Key || again[0].Value != p.Value {
				t.Fatalf("%+v comes back as %+v, %v", p, again, err)
			}
		}
		c := DefaultConfig()
		for _, p := range props {
			_ = c.Set(p.Key, p.Value, Origin{FromFile, "fuzz"})
		}
		_ = c.Validate()
	})
}

func escapeProperty(s string) string {
	r := strings.NewReplacer("\\", `\\`, "\n", `\n`, "\r", `\r`, "\t", `\t`, "\f", `\f`, " ", `\ `, "=", `\=`, ":", `\:`, "#", `\#`, "!", `\!`)
	return r.Replace(s)
}

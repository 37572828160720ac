package main

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"
)

func TestFormat(t *testing.T) {
	rec := &kgo.Record{
		Topic: "logs", Partition: 3, Offset: 42, Timestamp: time.UnixMilli(1_700_000_000_005),
		Key: []byte("k"), Value: []byte("a value"), Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("1")}, {Key: "i"}},
	}
	tests := map[string]string{
		`%v\n`:          "a value\n",
		`%t/%p/%o`:      "logs/3/42",
		`%T %D`:         "1700000000005 2023-11-14T22:13:20.005Z",
		`%k\t%h\r`:      "k\th=1,i=\r",
		`100%% \\ \0é`:  "100% \\ \x00é",
		"":              "",
		"%v%v":          "a valuea value",
		"raw\nnew line": "raw\nnew line",
	}
	for format, want := range tests {
		f, err := parseFormat(format)
		if err != nil {
			t.Errorf("%q: %v", format, err)
			continue
		}
		if got := string(f([]byte(">"), rec)); got != ">"+want {
			t.Errorf("%q: got %q, want %q", format, got, ">"+want)
		}
	}
	for _, format := range []string{"%", `\`, "%x", `\q`, `a%`, `\%`, `%\`} {
		if _, err := parseFormat(format); err == nil {
			t.Errorf("%q is accepted", format)
		}
	}
}

func TestFormatJSON(t *testing.T) {
	f, err := parseFormat("json")
	if err != nil {
		t.Fatal(err)
	}
	rec := &kgo.Record{Topic: "t", Partition: 1, Offset: 2, Timestamp: time.UnixMilli(3), Value: []byte("a\"\\\n\x01<é"), Headers: []kgo.RecordHeader{{Key: "h\xff", Value: []byte{0xff}}}}
	want := `{"topic":"t","partition":1,"offset":2,"timestamp":3,"key":null,"value":"a\"\\\n\u0001<é","headers":[{"name":"h` + "\uFFFD" + `","value_base64":"/w=="}]}` + "\n"
	if got := string(f(nil, rec)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func FuzzFormatJSON(f *testing.F) {
	f.Add([]byte("key"), []byte("value\x00\"\\"), "header")
	f.Add([]byte(nil), []byte{0xff, 0xfe}, "\xff")
	f.Fuzz(func(t *testing.T, key, value []byte, header string) {
		line := appendJSON(nil, &kgo.Record{Topic: "t", Key: key, Value: value, Headers: []kgo.RecordHeader{{Key: header, Value: key}}})
		var got struct {
			Key, Value *string
			Base64     *string `json:"value_base64"`
			Headers    []struct{ Name string }
		}
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if got.Headers[0].Name != strings.ToValidUTF8(header, "\uFFFD") {
			t.Fatalf("header %q comes back as %q", header, got.Headers[0].Name)
		}
		back := ""
		switch {
		case utf8.Valid(value) && got.Value != nil:
			back = *got.Value
		case got.Base64 != nil:
			raw, err := base64.StdEncoding.DecodeString(*got.Base64)
			if err != nil {
				t.Fatal(err)
			}
			back = string(raw)
		}
		if back != string(value) {
			t.Fatalf("%q comes back as %q", value, back)
		}
	})
}

func FuzzParseFormat(f *testing.F) {
	f.Add(`%D %p:%o %k %v\n`)
	f.Add(`100%%\0`)
	f.Fuzz(func(_ *testing.T, s string) {
		if fn, err := parseFormat(s); err == nil {
			fn(nil, &kgo.Record{Key: []byte("k")})
		}
	})
}

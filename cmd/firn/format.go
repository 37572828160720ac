package main

import (
	"encoding/base64"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"
)

// formatHelp is what --format takes, for its help text.
const formatHelp = `A format holds %t topic, %p partition, %o offset, %T timestamp in milliseconds, %D timestamp as
a date, %k key, %v value, %h headers as name=value with commas between, %% a percent sign, and
\n \t \r \\ \0. The word json stands for one JSON object a line; bytes that are no UTF-8 are in
its fields key_base64 and value_base64.`

// appender writes one part of a record behind b.
type appender func(b []byte, r *kgo.Record) []byte

// parseFormat compiles a format; see formatHelp.
func parseFormat(s string) (appender, error) {
	if s == "json" {
		return appendJSON, nil
	}
	var parts []appender
	var lit []byte
	flush := func() {
		if len(lit) > 0 {
			text := lit
			parts = append(parts, func(b []byte, _ *kgo.Record) []byte { return append(b, text...) })
			lit = nil
		}
	}
	for i := 0; i < len(s); i++ {
		if s[i] != '%' && s[i] != '\\' {
			lit = append(lit, s[i])
			continue
		}
		if i+1 == len(s) {
			return nil, usagef("--format %q ends in %q", s, s[i:])
		}
		i++
		if c, ok := literal(s[i-1 : i+1]); ok {
			lit = append(lit, c)
			continue
		}
		field, ok := fields[s[i]]
		if !ok || s[i-1] == '\\' {
			return nil, usagef("--format %q: %q means nothing; see 'firn consume --help'", s, s[i-1:i+1])
		}
		flush()
		parts = append(parts, field)
	}
	flush()
	return func(b []byte, r *kgo.Record) []byte {
		for _, p := range parts {
			b = p(b, r)
		}
		return b
	}, nil
}

// literal returns the byte that a two-character sequence stands for.
func literal(seq string) (byte, bool) {
	switch seq {
	case "%%":
		return '%', true
	case `\n`:
		return '\n', true
	case `\t`:
		return '\t', true
	case `\r`:
		return '\r', true
	case `\\`:
		return '\\', true
	case `\0`:
		return 0, true
	}
	return 0, false
}

var fields = map[byte]appender{
	't': func(b []byte, r *kgo.Record) []byte { return append(b, r.Topic...) },
	'p': func(b []byte, r *kgo.Record) []byte { return strconv.AppendInt(b, int64(r.Partition), 10) },
	'o': func(b []byte, r *kgo.Record) []byte { return strconv.AppendInt(b, r.Offset, 10) },
	'T': func(b []byte, r *kgo.Record) []byte { return strconv.AppendInt(b, r.Timestamp.UnixMilli(), 10) },
	'D': func(b []byte, r *kgo.Record) []byte { return appendDate(b, r.Timestamp) },
	'k': func(b []byte, r *kgo.Record) []byte { return append(b, r.Key...) },
	'v': func(b []byte, r *kgo.Record) []byte { return append(b, r.Value...) },
	'h': func(b []byte, r *kgo.Record) []byte {
		for i, h := range r.Headers {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, h.Key...)
			b = append(b, '=')
			b = append(b, h.Value...)
		}
		return b
	},
}

func appendDate(b []byte, t time.Time) []byte {
	return t.UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z07:00")
}

// appendJSON writes a record as one line of JSON.
func appendJSON(b []byte, r *kgo.Record) []byte {
	b = append(b, `{"topic":`...)
	b = appendString(b, r.Topic)
	b = append(b, `,"partition":`...)
	b = strconv.AppendInt(b, int64(r.Partition), 10)
	b = append(b, `,"offset":`...)
	b = strconv.AppendInt(b, r.Offset, 10)
	b = append(b, `,"timestamp":`...)
	b = strconv.AppendInt(b, r.Timestamp.UnixMilli(), 10)
	b = append(b, ',')
	b = appendBytes(b, "key", r.Key)
	b = append(b, ',')
	b = appendBytes(b, "value", r.Value)
	if len(r.Headers) > 0 {
		b = append(b, `,"headers":[`...)
		for i, h := range r.Headers {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, `{"name":`...)
			b = appendString(b, h.Key)
			b = append(b, ',')
			b = appendBytes(b, "value", h.Value)
			b = append(b, '}')
		}
		b = append(b, ']')
	}
	return append(b, "}\n"...)
}

// appendBytes writes a member whose value is text, null, or, under another name, base64.
func appendBytes(b []byte, name string, value []byte) []byte {
	b = append(b, '"')
	b = append(b, name...)
	switch {
	case value == nil:
		return append(b, `":null`...)
	case !utf8.Valid(value):
		b = append(b, `_base64":"`...)
		b = base64.StdEncoding.AppendEncode(b, value)
		return append(b, '"')
	}
	b = append(b, `":`...)
	return appendQuoted(b, value)
}

// appendString writes a JSON string. What is no UTF-8 becomes U+FFFD.
func appendString(b []byte, s string) []byte {
	return appendQuoted(b, strings.ToValidUTF8(s, "\uFFFD"))
}

// appendQuoted writes valid UTF-8 as a JSON string.
func appendQuoted[S string | []byte](b []byte, s S) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	from := 0
	for i := range len(s) {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, `\n`...)
		case '\r':
			b = append(b, `\r`...)
		case '\t':
			b = append(b, `\t`...)
		default:
			b = append(b, `\u00`...)
			b = append(b, hex[c>>4], hex[c&15])
		}
	}
	b = append(b, s[from:]...)
	return append(b, '"')
}

package broker

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Property is one entry of a properties file.
type Property struct {
	Key, Value string
	Line       int // where the entry begins, from 1
}

// ParseProperties reads the text of a Java properties file: one key and value a line with '=', ':' or white
// space between, comments behind '#' or '!', lines joined by a backslash at their end, and backslash
// escapes. A key that comes twice is returned twice, and the later one is meant. The text is UTF-8; a
// \uXXXX escape works too. The only error is an escape that is cut short.
func ParseProperties(text string) ([]Property, error) {
	var props []Property
	lines := splitLines(text)
	for i := 0; i < len(lines); i++ {
		line := strings.TrimLeft(lines[i], propSpace)
		if line == "" || line[0] == '#' || line[0] == '!' {
			continue
		}
		start := i + 1
		for endsInBackslash(line) {
			line = line[:len(line)-1]
			if i+1 == len(lines) {
				break
			}
			i++
			line += strings.TrimLeft(lines[i], propSpace)
		}
		key, value := splitProperty(line)
		p := Property{Line: start}
		var err error
		if p.Key, err = unescape(key); err != nil {
			return nil, fmt.Errorf("line %d: %w", start, err)
		}
		if p.Value, err = unescape(value); err != nil {
			return nil, fmt.Errorf("line %d: %w", start, err)
		}
		props = append(props, p)
	}
	return props, nil
}

// propSpace is what counts as white space within a line.
const propSpace = " \t\f"

// splitLines cuts text at \n, \r and \r\n.
func splitLines(text string) []string {
	text = strings.ReplaceAll(text, "\r\n", "\n")
	return strings.Split(strings.ReplaceAll(text, "\r", "\n"), "\n")
}

// endsInBackslash reports whether line ends in a backslash that is not itself escaped.
func endsInBackslash(line string) bool {
	n := len(line) - len(strings.TrimRight(line, `\`))
	return n%2 == 1
}

// splitProperty cuts a logical line into its key and value, both still escaped.
func splitProperty(line string) (key, value string) {
	end := len(line)
	for i := 0; i < len(line); i++ {
		if line[i] == '\\' {
			i++
		} else if strings.IndexByte("=:"+propSpace, line[i]) >= 0 {
			end = i
			break
		}
	}
	rest := strings.TrimLeft(line[end:], propSpace)
	if rest != "" && (rest[0] == '=' || rest[0] == ':') {
		rest = strings.TrimLeft(rest[1:], propSpace)
	}
	return line[:end], rest
}

// unescape resolves backslash escapes. A backslash before any other character just goes.
func unescape(s string) (string, error) {
	if !strings.Contains(s, `\`) {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		switch c := s[i]; c {
		case 't':
			b.WriteByte('\t')
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 'f':
			b.WriteByte('\f')
		case 'u':
			r, ok := hex4(s[i+1:])
			if !ok {
				return "", fmt.Errorf(`\u must be followed by four hexadecimal digits in %q`, s)
			}
			i += 4
			if low, ok := lowSurrogate(s[i+1:]); ok && utf16.IsSurrogate(r) {
				if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
					r = pair
					i += 6
				}
			}
			b.WriteRune(r)
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), nil
}

// lowSurrogate reads a \uXXXX escape at the beginning of s.
func lowSurrogate(s string) (rune, bool) {
	if !strings.HasPrefix(s, `\u`) {
		return 0, false
	}
	return hex4(s[2:])
}

// hex4 reads four hexadecimal digits at the beginning of s.
func hex4(s string) (rune, bool) {
	if len(s) < 4 {
		return 0, false
	}
	n, err := strconv.ParseUint(s[:4], 16, 16)
	return rune(n), err == nil
}

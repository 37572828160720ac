package broker

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"firn/metadata/topic"
	"firn/segment"
)

// rule is what makes a setting's value legal, and where the value lives in a Config.
type rule struct {
	typ     topic.Type
	allowed string
	set     func(c *Config, value string) bool
	get     func(c *Config) string
}

// whole is a whole number from lo to hi.
func whole[T int16 | int32 | int64](lo, hi T, field func(*Config) *T) rule {
	typ, bits := topic.Long, 64
	switch any(lo).(type) {
	case int16:
		typ, bits = topic.Short, 16
	case int32:
		typ, bits = topic.Int, 32
	}
	return rule{
		typ:     typ,
		allowed: "a whole number, " + span(int64(lo), int64(hi)),
		set: func(c *Config, v string) bool {
			n, err := strconv.ParseInt(strings.TrimSpace(v), 10, bits)
			*field(c) = T(n)
			return err == nil && n >= int64(lo) && n <= int64(hi)
		},
		get: func(c *Config) string { return strconv.FormatInt(int64(*field(c)), 10) },
	}
}

// atLeast is a whole number of 32 bits and no upper bound of its own.
func atLeast(lo int32, field func(*Config) *int32) rule { return whole(lo, math.MaxInt32, field) }

// span words a range; a bound at the end of its type is not worth naming.
func span(lo, hi int64) string {
	if hi == math.MaxInt64 || hi == math.MaxInt32 || hi == math.MaxInt16 {
		return fmt.Sprintf("%d or more", lo)
	}
	return fmt.Sprintf("%d to %d", lo, hi)
}

// period is a length of time of at least lo units.
func period(unit time.Duration, lo int64, field func(*Config) *time.Duration) rule {
	hi := math.MaxInt64 / int64(unit)
	return rule{
		typ:     topic.Long,
		allowed: fmt.Sprintf("a whole number of %s, %d or more", map[time.Duration]string{time.Millisecond: "milliseconds", time.Second: "seconds", time.Minute: "minutes"}[unit], lo),
		set: func(c *Config, v string) bool {
			n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
			*field(c) = time.Duration(min(n, hi)) * unit
			return err == nil && n >= lo
		},
		get: func(c *Config) string { return strconv.FormatInt(int64(*field(c)/unit), 10) },
	}
}

func millis(lo int64, field func(*Config) *time.Duration) rule {
	return period(time.Millisecond, lo, field)
}

// size is a number of bytes of at least lo; -1 is allowed where lo is -1.
func size(lo int64, field func(*Config) *int64) rule {
	allowed := fmt.Sprintf("a number of bytes, %d or more, as 268435456 or 256MiB", max(lo, 0))
	if lo < 0 {
		allowed += ", or -1"
	}
	return rule{
		typ:     topic.Long,
		allowed: allowed,
		set: func(c *Config, v string) bool {
			n, ok := parseSize(v)
			*field(c) = n
			return ok && n >= lo
		},
		get: func(c *Config) string { return formatSize(*field(c)) },
	}
}

var sizeUnits = []struct {
	name string
	unit int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// parseSize reads a number of bytes with an optional unit.
func parseSize(v string) (int64, bool) {
	v = strings.TrimSpace(v)
	unit := int64(1)
	for _, u := range sizeUnits {
		if rest, ok := strings.CutSuffix(v, u.name); ok {
			v, unit = strings.TrimSpace(rest), u.unit
			break
		}
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < -1 || n > math.MaxInt64/unit || n < 0 && unit > 1 {
		return 0, false
	}
	return n * unit, true
}

// formatSize writes a number of bytes in the largest unit that divides it.
func formatSize(n int64) string {
	for _, u := range sizeUnits {
		if n > 0 && u.unit > 1 && n%u.unit == 0 {
			return strconv.FormatInt(n/u.unit, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}

// boolean is true or false in any case.
func boolean(field func(*Config) *bool) rule {
	return rule{
		typ:     topic.Boolean,
		allowed: "true or false",
		set: func(c *Config, v string) bool {
			v = strings.TrimSpace(v)
			*field(c) = strings.EqualFold(v, "true")
			return *field(c) || strings.EqualFold(v, "false")
		},
		get: func(c *Config) string { return strconv.FormatBool(*field(c)) },
	}
}

// text is any text; allowed says what makes sense.
func text(allowed string, field func(*Config) *string) rule {
	return rule{
		typ:     topic.String,
		allowed: allowed,
		set:     func(c *Config, v string) bool { *field(c) = strings.TrimSpace(v); return true },
		get:     func(c *Config) string { return *field(c) },
	}
}

// checked is a text that ok accepts.
func checked(allowed string, ok func(string) bool, field func(*Config) *string) rule {
	r := text(allowed, field)
	r.set = func(c *Config, v string) bool { *field(c) = strings.TrimSpace(v); return ok(*field(c)) }
	return r
}

// oneOf is one of a few words, in any case.
func oneOf(field func(*Config) *string, words ...string) rule {
	r := text("one of "+strings.Join(words, ", "), field)
	r.set = func(c *Config, v string) bool {
		*field(c) = strings.ToLower(strings.TrimSpace(v))
		return slices.Contains(words, *field(c))
	}
	return r
}

// orNone is a rule whose value may also be the word none, which is an empty text.
func orNone(r rule) rule {
	inner, get := r.set, r.get
	r.set = func(c *Config, v string) bool {
		if strings.TrimSpace(v) == "none" {
			v = ""
		}
		return inner(c, v)
	}
	r.get = func(c *Config) string {
		if v := get(c); v != "" {
			return v
		}
		return "none"
	}
	return r
}

// words is a comma-separated list.
func words(allowed string, field func(*Config) *[]string) rule {
	return rule{
		typ:     topic.List,
		allowed: allowed,
		set: func(c *Config, v string) bool {
			*field(c) = splitList(v)
			return !slices.Contains(*field(c), "")
		},
		get: func(c *Config) string { return strings.Join(*field(c), ",") },
	}
}

// each is a list whose members ok accepts.
func each(ok func(string) bool, r rule) rule {
	inner := r.set
	r.set = func(c *Config, v string) bool {
		return inner(c, v) && !slices.ContainsFunc(splitList(v), func(s string) bool { return !ok(s) })
	}
	return r
}

// splitList cuts a comma-separated list and trims its members; an empty text is an empty list.
func splitList(v string) []string {
	if v = strings.TrimSpace(v); v == "" {
		return nil
	}
	parts := strings.Split(v, ",")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}

// threshold is an amount of free disk space: the smaller of a share of the disk and a number of bytes.
func threshold(field func(*Config) *segment.Threshold) rule {
	return rule{
		typ:     topic.String,
		allowed: "PERCENT%,BYTES, of which the smaller counts, as 10%,10GiB",
		set: func(c *Config, v string) bool {
			share, bytes, ok := strings.Cut(v, ",")
			num, isPercent := strings.CutSuffix(strings.TrimSpace(share), "%")
			p, err := strconv.ParseUint(num, 10, 7)
			n, sized := parseSize(bytes)
			*field(c) = segment.Threshold{Percent: int(p), Bytes: n}
			return ok && isPercent && err == nil && p <= 100 && sized && n >= 0
		},
		get: func(c *Config) string { return fmt.Sprintf("%d%%,%s", field(c).Percent, formatSize(field(c).Bytes)) },
	}
}

// listenerList is a list of NAME://host:port.
func listenerList(allowed string, field func(*Config) *[]Listener) rule {
	return rule{
		typ:     topic.String,
		allowed: allowed,
		set: func(c *Config, v string) bool {
			ls, err := parseListeners(v)
			*field(c) = ls
			return err == nil
		},
		get: func(c *Config) string { return formatListeners(*field(c)) },
	}
}

// listenerName is the name of a listener, in upper case as listenerList has it.
func listenerName(allowed string, field func(*Config) *string) rule {
	r := text(allowed, field)
	r.set = func(c *Config, v string) bool { *field(c) = strings.ToUpper(strings.TrimSpace(v)); return true }
	return r
}

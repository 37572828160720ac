package topic

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// rule is what makes a Def's value legal: its type, the words for it, and where it goes in a Config.
type rule struct {
	typ     Type
	allowed string
	set     func(c *Config, value string) bool
}

// long is a whole number of at least lo.
func long(lo int64, field func(*Config) *int64) rule {
	return rule{Long, fmt.Sprintf("a whole number, %s", span(lo, math.MaxInt64)), func(c *Config, v string) bool {
		n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
		*field(c) = n
		return err == nil && n >= lo
	}}
}

// integer is a whole number of 32 bits from lo to hi.
func integer(lo, hi int32, field func(*Config) *int32) rule {
	return rule{Int, fmt.Sprintf("a whole number, %s", span(int64(lo), int64(hi))), func(c *Config, v string) bool {
		n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 32)
		*field(c) = int32(n)
		return err == nil && int32(n) >= lo && int32(n) <= hi
	}}
}

// gzipLevel is a whole number from 1 to 9, or -1 for the library's own choice.
func gzipLevel(field func(*Config) *int32) rule {
	r := integer(-1, 9, field)
	inner := r.set
	r.allowed = "a whole number, 1 to 9, or -1 for the default level"
	r.set = func(c *Config, v string) bool { return inner(c, v) && *field(c) != 0 }
	return r
}

// span words a range; a bound at the end of its type is not worth naming.
func span(lo, hi int64) string {
	if hi == math.MaxInt64 || hi == math.MaxInt32 {
		return fmt.Sprintf("%d or more", lo)
	}
	return fmt.Sprintf("%d to %d", lo, hi)
}

// ratio is a number from 0 to 1.
func ratio(field func(*Config) *float64) rule {
	return rule{Double, "a number from 0 to 1", func(c *Config, v string) bool {
		f, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
		*field(c) = f
		return err == nil && f >= 0 && f <= 1
	}}
}

// boolean is true or false in any case.
func boolean(field func(*Config) *bool) rule {
	return rule{Boolean, "true or false", func(c *Config, v string) bool {
		b, ok := parseBool(v)
		*field(c) = b
		return ok
	}}
}

func parseBool(v string) (value, ok bool) {
	v = strings.TrimSpace(v)
	value = strings.EqualFold(v, "true")
	return value, value || strings.EqualFold(v, "false")
}

// choice is one of names; set gets its position.
func choice(names []string, set func(*Config, int)) rule {
	return rule{String, "one of " + strings.Join(names, ", "), func(c *Config, v string) bool {
		i := slices.Index(names, strings.TrimSpace(v))
		set(c, i)
		return i >= 0
	}}
}

// cleanupPolicy is a list of delete and compact, either, both or none.
func cleanupPolicy() rule {
	return rule{List, "delete, compact, both with a comma between, or nothing", func(c *Config, v string) bool {
		c.Cleanup = Cleanup{}
		for _, w := range splitList(v) {
			switch w {
			case "delete":
				c.Cleanup.Delete = true
			case "compact":
				c.Cleanup.Compact = true
			default:
				return false
			}
		}
		return true
	}}
}

// throttled is a list of partition:broker pairs, or *.
func throttled(field func(*Config) *ThrottledReplicas) rule {
	return rule{List, "*, nothing, or a comma-separated list of PARTITION:BROKER", func(c *Config, v string) bool {
		list := splitList(v)
		if len(list) == 1 && list[0] == "*" {
			*field(c) = "*"
			return true
		}
		for i, pair := range list {
			p, b, _ := strings.Cut(pair, ":")
			partition, errP := strconv.ParseUint(p, 10, 31)
			broker, errB := strconv.ParseUint(b, 10, 31)
			if errP != nil || errB != nil {
				return false
			}
			list[i] = fmt.Sprintf("%d:%d", partition, broker) // as Has looks for it
		}
		*field(c) = ThrottledReplicas(strings.Join(list, ","))
		return true
	}}
}

// ignored is a setting of the given rule that goes nowhere: its value is checked and forgotten.
func ignored(r rule) rule {
	inner := r.set
	r.set = func(_ *Config, v string) bool {
		var scratch Config
		return inner(&scratch, v)
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

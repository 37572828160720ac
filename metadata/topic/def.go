package topic

import (
	"math"
	"strconv"
	"strings"
)

// Type is the type of a setting's value; the numbers are those of DescribeConfigs.
type Type int8

// The types a setting may have.
const (
	Boolean  Type = 1
	String   Type = 2
	Int      Type = 3
	Short    Type = 4
	Long     Type = 5
	Double   Type = 6
	List     Type = 7
	Class    Type = 8
	Password Type = 9
)

// String returns the type's name as people write it.
func (t Type) String() string {
	names := [...]string{"unknown", "boolean", "string", "int", "short", "long", "double", "list", "class", "password"}
	if t < 0 || int(t) >= len(names) {
		return names[0]
	}
	return names[t]
}

// Source says where a setting's value comes from; the numbers are those of DescribeConfigs.
type Source int8

// The sources, strongest first.
const (
	SourceTopic          Source = 1 // an override on the topic
	SourceBroker         Source = 2 // set at run time on this broker
	SourceClusterDefault Source = 3 // set at run time for all brokers
	SourceStatic         Source = 4 // in the broker's own flags, environment or file
	SourceDefault        Source = 5 // nobody said anything
)

// Def describes one topic setting.
type Def struct {
	Name    string
	Type    Type
	Default string // in the form a user would write
	// TieredDefault is the default where the cluster has object storage; empty when it is Default.
	TieredDefault string
	Doc           string    // what it does, for DescribeConfigs and for people
	Allowed       string    // which values are legal, in the words an error uses
	Effect        bool      // false: accepted and described, but nothing reads it
	Synonyms      []Synonym // server-level settings it falls back to, in order of precedence

	set func(c *Config, value string) bool // false: value is not legal
}

// Synonym is a server-level setting that a topic setting falls back to.
type Synonym struct {
	Name string
	// Scale is what one unit of the server setting is in units of the topic setting: 60000 for a
	// number of minutes behind a number of milliseconds, 1 where both count the same.
	Scale int64
}

// Check returns nil if value is legal for the setting, otherwise an *Error.
func (d *Def) Check(value string) error {
	var c Config
	if !d.set(&c, value) {
		return &Error{Key: d.Name, Value: value, Allowed: d.Allowed}
	}
	return nil
}

// DefaultFor returns the default with or without object storage.
func (d *Def) DefaultFor(tiered bool) string {
	if tiered && d.TieredDefault != "" {
		return d.TieredDefault
	}
	return d.Default
}

// Convert turns a server-level value into the topic setting's unit. A negative number, which means no
// limit, becomes -1, and a product past the range of int64 becomes the largest value. What is not a number
// is returned as it is, for Check to refuse.
func (s Synonym) Convert(value string) string {
	if s.Scale <= 1 {
		return value
	}
	n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
	switch {
	case err != nil:
		return value
	case n < 0:
		return "-1"
	case n > math.MaxInt64/s.Scale:
		n = math.MaxInt64 / s.Scale
	}
	return strconv.FormatInt(n*s.Scale, 10)
}

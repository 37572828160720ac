package topic

import "fmt"

// Defs is every topic setting there is, sorted by name. It must not be changed.
var Defs []Def

// Lookup returns the setting called name, nil when there is none.
func Lookup(name string) *Def {
	for i := range Defs {
		if Defs[i].Name == name {
			return &Defs[i]
		}
	}
	return nil
}

// ParseConfig returns the effective configuration of a topic with these overrides. An unknown key, a value
// that is not legal and two settings that contradict each other are an *Error.
func ParseConfig(overrides map[string]string, d Defaults) (Config, error) {
	return Config{}, nil
}

// Resolve returns the effective value of every setting, in the order of Defs.
func Resolve(overrides map[string]string, d Defaults) []Value { return nil }

// Error names the key, the value and what is allowed.
func (e *Error) Error() string {
	if e.Unknown {
		return fmt.Sprintf("unknown topic setting %q", e.Key)
	}
	return fmt.Sprintf("topic setting %s=%q: %s", e.Key, e.Value, e.Allowed)
}

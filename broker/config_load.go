package broker

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// OriginKind is the kind of place a setting's value comes from.
type OriginKind int8

// The kinds, weakest first.
const (
	FromDefault OriginKind = iota
	FromFile
	FromEnvironment
	FromFlag
)

// Origin says where a setting's value comes from.
type Origin struct {
	Kind  OriginKind
	Where string // file:line, variable or flag
}

// String returns the origin as people read it.
func (o Origin) String() string {
	name := [...]string{"default", "file", "environment", "flag"}[o.Kind]
	if o.Where == "" {
		return name
	}
	return name + " " + o.Where
}

// Origin returns where the value of the setting called key comes from.
func (c *Config) Origin(key string) Origin { return c.origins[key] }

// Layers are the places LoadConfig reads, weakest first.
type Layers struct {
	File  string   // path of a properties file; "" is none
	Env   []string // as of os.Environ; only FIRN_* is looked at
	Flags []Flag   // the later wins
}

// Flag is a setting given on the command line.
type Flag struct {
	Name       string // the flag, for people: --set, --listen
	Key, Value string
}

// LoadConfig lays what Layers hold over base. Every unknown key and bad value is a *SettingError inside the
// returned error. A key that only Kafka knows is a warning instead, so that a Kafka broker's file can be
// tried as it is. The result is not validated as a whole yet: call Validate.
func LoadConfig(base Config, l Layers) (c Config, warnings []string, err error) {
	c = base.clone()
	var errs []error
	apply := func(key, value string, from Origin) {
		if LookupSetting(key) == nil && KafkaOnly(key) {
			warnings = append(warnings, fmt.Sprintf("%s: setting %s is Kafka's and has no effect in Firn", from, key))
			return
		}
		if err := c.Set(key, value, from); err != nil {
			errs = append(errs, err)
		}
	}
	if l.File != "" {
		props, err := readPropertiesFile(l.File)
		if err != nil {
			return Config{}, nil, err
		}
		for _, p := range props {
			apply(p.Key, p.Value, Origin{FromFile, fmt.Sprintf("%s:%d", filepath.Base(l.File), p.Line)})
		}
	}
	for _, kv := range envSettings(l.Env) {
		apply(kv.Key, kv.Value, Origin{FromEnvironment, kv.Name})
	}
	for _, f := range l.Flags {
		apply(f.Key, f.Value, Origin{FromFlag, f.Name})
	}
	return c, warnings, errors.Join(errs...)
}

// maxFileBytes bounds a settings file; it is far beyond any real one.
const maxFileBytes = 1 << 20

func readPropertiesFile(path string) ([]Property, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("settings file: %w", err)
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("settings file %s: %w", path, err)
	}
	if len(data) > maxFileBytes {
		return nil, fmt.Errorf("settings file %s: longer than %d bytes", path, maxFileBytes)
	}
	props, err := ParseProperties(string(data))
	if err != nil {
		return nil, fmt.Errorf("settings file %s: %w", path, err)
	}
	return props, nil
}

const envPrefix = "FIRN_"

// otherEnv are the variables with our prefix that are no broker settings: those of the client commands, and
// those by which tests and the Makefile are steered. A name that ends in '_' is a prefix.
var otherEnv = []string{
	"FIRN_BOOTSTRAP_SERVER", "FIRN_HTTP", "FIRN_DATA",
	"FIRN_TEST_", "FIRN_CRASH_", "FIRN_CLIENT_", "FIRN_BENCH_", "FIRN_BIN", "FIRN_RACE", "FIRN_SEED", "FIRN_SIM_", "FIRN_SOAK", "FIRN_TOOLS", "FIRN_VERIFY",
}

// isOther reports whether a variable is one of otherEnv.
func isOther(name string) bool {
	return slices.ContainsFunc(otherEnv, func(o string) bool {
		return name == o || strings.HasSuffix(o, "_") && strings.HasPrefix(name, o)
	})
}

// EnvName returns the environment variable that sets the setting called key.
func EnvName(key string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// envSettings picks the settings out of an environment, sorted by variable. A variable that names no
// setting keeps its own spelling as key, so that it is reported.
func envSettings(env []string) []Flag {
	var out []Flag
	for _, kv := range env {
		name, value, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, envPrefix) || isOther(name) || serviceLink(name) {
			continue
		}
		key := strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(name, envPrefix), "_", "."))
		out = append(out, Flag{Name: name, Key: key, Value: value})
	}
	slices.SortFunc(out, func(a, b Flag) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// serviceLink reports whether a variable looks like those that Kubernetes puts into every container for
// each service: a service called firn would otherwise keep the broker from starting.
func serviceLink(name string) bool {
	return strings.HasSuffix(name, "_SERVICE_HOST") || strings.Contains(name, "_SERVICE_PORT") ||
		strings.HasSuffix(name, "_PORT") || strings.Contains(name, "_PORT_") && (strings.Contains(name, "_TCP") || strings.Contains(name, "_UDP"))
}

package topic

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// FlushMessages is the server-level name of flush.messages.
const FlushMessages = "log.flush.interval.messages"

// Defaults is what a topic falls back to where it has no override of its own. Maps hold server-level
// settings by their server-level names (log.retention.hours and so on); keys that no topic setting falls
// back to are ignored, as are empty values. Nil maps are empty.
type Defaults struct {
	// Tiered says that the cluster has object storage. Topics are then tiered unless they say
	// otherwise; without it nothing is tiered whatever a topic says.
	Tiered  bool
	Broker  map[string]string // set at run time on one broker
	Cluster map[string]string // set at run time for all brokers
	Static  map[string]string // set in flags, environment or file
}

// Value is a setting's effective value and where it comes from.
type Value struct {
	Def    *Def
	Value  string // as a user would write it on the topic
	Source Source
	// Chain lists every place that gives a value, the one in force first, the default last.
	Chain []Origin
}

// Origin is one place that gives a setting a value.
type Origin struct {
	Name   string // the topic-level or server-level name there
	Value  string // as written there
	Source Source
}

// MaxErrors is how many mistakes in settings are told of: it takes some 10 µs to find out what one that there is not could mean.
const MaxErrors = 5

// Enough reports whether errs has MaxErrors mistakes, and if so ends it by one that says that there are more.
func Enough(errs []error) ([]error, bool) {
	if len(errs) < MaxErrors {
		return errs, false
	}
	return append(errs, errors.New("and more")), true
}

// ParseConfig returns the effective configuration of a topic with these overrides. Every override that is
// unknown or not legal is an *Error inside the returned error, or at least the first few are; the Config beside it is complete and
// usable, as if those overrides were not there, so that a stored setting which a broker does not
// understand does not take its topic away.
func ParseConfig(overrides map[string]string, d Defaults) (Config, error) {
	var c Config
	var errs []error
	for i := range Defs {
		def := &Defs[i]
		if v, ok := overrides[def.Name]; ok {
			if def.set(&c, v) {
				continue
			}
			errs = append(errs, &Error{Key: def.Name, Value: v, Allowed: def.Allowed})
		}
		def.setFallback(&c, d)
	}
	for _, k := range slices.Sorted(maps.Keys(overrides)) {
		if Lookup(k) != nil {
			continue
		}
		var enough bool
		if errs, enough = Enough(errs); enough {
			break
		}
		errs = append(errs, unknown(k, overrides[k]))
	}
	c.settle(d.Tiered)
	return c, errors.Join(errs...)
}

// Validate reports why overrides cannot be given to a topic: what ParseConfig refuses, and settings that
// contradict each other or need what the cluster does not have. Use it where a user sets them.
func Validate(overrides map[string]string, d Defaults) error {
	c, err := ParseConfig(overrides, d)
	if err != nil {
		return err
	}
	if v, ok := overrides["remote.storage.enable"]; ok && !c.Tier.Enabled {
		if on, _ := parseBool(v); on {
			return &Error{Key: "remote.storage.enable", Value: v, Allowed: whyNotTiered(d)}
		}
	}
	if c.Compaction.MinLagMs > c.Compaction.MaxLagMs {
		if err := checkLags(overrides, c.Compaction); err != nil {
			return err
		}
	}
	var raw Config // the totals as written: compaction does not make a wrong pair right
	for _, name := range []string{"retention.bytes", "retention.ms", "local.retention.bytes", "local.retention.ms"} {
		def := Lookup(name)
		if v, ok := overrides[name]; !ok || !def.set(&raw, v) {
			def.setFallback(&raw, d)
		}
	}
	if err := checkLocal(overrides, "local.retention.bytes", raw.Tier.LocalBytes, "retention.bytes", raw.Retention.Bytes); err != nil {
		return err
	}
	return checkLocal(overrides, "local.retention.ms", raw.Tier.LocalMs, "retention.ms", raw.Retention.Ms)
}

func whyNotTiered(d Defaults) string {
	if !d.Tiered {
		return "false, as this cluster has no object storage (tier.url)"
	}
	return "false on a topic with cleanup.policy=compact, as compacted topics are not tiered"
}

// checkLags blames the compaction lag that the topic itself sets.
func checkLags(overrides map[string]string, c Compaction) error {
	if v, ok := overrides["min.compaction.lag.ms"]; ok {
		return &Error{Key: "min.compaction.lag.ms", Value: v, Allowed: fmt.Sprintf("0 to %d, the topic's max.compaction.lag.ms", c.MaxLagMs)}
	}
	if v, ok := overrides["max.compaction.lag.ms"]; ok {
		return &Error{Key: "max.compaction.lag.ms", Value: v, Allowed: fmt.Sprintf("%d, the topic's min.compaction.lag.ms, or more", c.MinLagMs)}
	}
	return nil // the server's own settings contradict each other: not this topic's doing
}

// checkLocal reports a local limit, written on the topic itself, that is wider than the total one. A local
// limit that comes from the server or the default is narrowed instead.
func checkLocal(overrides map[string]string, localKey string, local int64, totalKey string, total int64) error {
	v, ok := overrides[localKey]
	if !ok || total == Unlimited || local == sameAsTotal || local >= 0 && local <= total {
		return nil
	}
	return &Error{Key: localKey, Value: v, Allowed: fmt.Sprintf("0 to %d, the topic's %s, or -2 for the same", total, totalKey)}
}

// Resolve returns the effective value of every setting, in the order of Defs. An override that is not
// legal is passed over, as ParseConfig does.
func Resolve(overrides map[string]string, d Defaults) []Value {
	values := make([]Value, len(Defs))
	for i := range Defs {
		def := &Defs[i]
		var chain []Origin
		value := ""
		if v, ok := overrides[def.Name]; ok && def.Check(v) == nil {
			chain = append(chain, Origin{def.Name, v, SourceTopic})
			value = v
		}
		def.eachFallback(d, func(o Origin, v string) bool {
			if len(chain) == 0 {
				value = v
			}
			chain = append(chain, o)
			return true
		})
		values[i] = Value{Def: def, Value: value, Source: chain[0].Source, Chain: chain}
	}
	return values
}

// setFallback sets the value that the setting has without an override.
func (d *Def) setFallback(c *Config, defaults Defaults) {
	d.eachFallback(defaults, func(_ Origin, v string) bool {
		d.set(c, v)
		return false
	})
}

// eachFallback calls fn with each legal value the setting has without an override, strongest first and the
// default last, until fn returns false. The second argument is in the unit of the topic setting. A name
// with higher precedence wins over a stronger source of another name, as in Kafka.
func (d *Def) eachFallback(defaults Defaults, fn func(o Origin, value string) bool) {
	layers := [...]struct {
		values map[string]string
		source Source
	}{{defaults.Broker, SourceBroker}, {defaults.Cluster, SourceClusterDefault}, {defaults.Static, SourceStatic}}
	for _, syn := range d.Synonyms {
		for _, l := range layers {
			raw, ok := l.values[syn.Name]
			if !ok || strings.TrimSpace(raw) == "" && d.Type != List {
				continue
			}
			v := syn.Convert(raw)
			if d.Check(v) != nil {
				continue
			}
			if !fn(Origin{syn.Name, raw, l.source}, v) {
				return
			}
		}
	}
	name := d.Name
	if len(d.Synonyms) > 0 {
		name = d.Synonyms[0].Name
	}
	v := d.DefaultFor(defaults.Tiered)
	fn(Origin{name, v, SourceDefault}, v)
}

func unknown(key, value string) *Error {
	e := &Error{Key: key, Value: value, Unknown: true, Allowed: "there is no such setting"}
	names := make([]string, len(Defs))
	for i := range Defs {
		names[i] = Defs[i].Name
	}
	if n := Nearest(key, names); n != "" {
		e.Allowed += "; did you mean " + n + "?"
	}
	return e
}

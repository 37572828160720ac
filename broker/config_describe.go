package broker

import (
	"errors"
	"maps"
	"slices"
	"strconv"

	"firn/metadata/topic"
)

// SettingValue is a broker setting as it is in force.
type SettingValue struct {
	Setting *Setting
	Value   string // hidden if the setting is sensitive
	Null    bool   // there is no value, not even a default
	Source  topic.Source
	Chain   []topic.Origin // every place that gives a value, the one in force first, the default last
}

// Describe returns every setting in the order of Settings, with what was set at run time for all brokers
// and for this one laid over it. Where run-time values are not legal they are passed over.
func (c *Config) Describe(cluster, own map[string]string) []SettingValue {
	out := make([]SettingValue, 0, len(Settings))
	for i := range Settings {
		s := &Settings[i]
		v := SettingValue{Setting: s}
		add := func(value string, source topic.Source) {
			if n, ok := parseSize(value); ok && s.Type == topic.Long {
				value = strconv.FormatInt(n, 10) // which is all that Kafka's tools know
			}
			v.Chain = append(v.Chain, topic.Origin{Name: s.Name, Value: value, Source: source})
		}
		if s.Dynamic {
			if d, ok := own[s.Name]; ok && s.legal(d) {
				add(d, topic.SourceBroker)
			}
			if d, ok := cluster[s.Name]; ok && s.legal(d) {
				add(d, topic.SourceClusterDefault)
			}
		}
		if c.Origin(s.Name).Kind != FromDefault {
			add(s.Value(c), topic.SourceStatic)
			if s.Default != "" {
				add(s.Default, topic.SourceDefault)
			}
		} else if d := s.Value(c); d != "" {
			add(d, topic.SourceDefault)
		}
		if len(v.Chain) == 0 {
			v.Null, v.Source = true, topic.SourceDefault
		} else {
			v.Value, v.Source = v.Chain[0].Value, v.Chain[0].Source
		}
		out = append(out, v)
	}
	return out
}

// legal reports whether the setting takes the value.
func (s *Setting) legal(value string) bool {
	c := Config{topics: map[string]string{}}
	return s.set(&c, value)
}

// At returns c with what was set at run time for all brokers and for this one laid over it, where that is legal. Settings
// that topics fall back to stay as they are: see TopicDefaultsWith.
func (c *Config) At(cluster, own map[string]string) Config {
	n := *c
	for i := range Settings {
		s := &Settings[i]
		if !s.Dynamic || s.topic != nil {
			continue
		}
		for _, values := range []map[string]string{own, cluster} {
			if v, ok := values[s.Name]; ok && s.legal(v) {
				s.set(&n, v)
				break
			}
		}
	}
	return n
}

// list returns what a setting is without run-time settings, and whether it is a list.
func (c *Config) list(name string) (value string, isList bool) {
	s := LookupSetting(name)
	if s == nil || s.Type != topic.List {
		return "", false
	}
	return s.Value(c), true
}

// CheckDynamic reports why settings cannot be set at run time: unknown ones, those that are read when a
// broker starts, and values that are not legal. The errors inside, of which there are a few at most, are *SettingError.
func CheckDynamic(overrides map[string]string) error {
	var errs []error
	for _, k := range slices.Sorted(maps.Keys(overrides)) {
		var enough bool
		if errs, enough = topic.Enough(errs); enough {
			break
		}
		s, v := LookupSetting(k), overrides[k]
		switch {
		case s == nil && KafkaOnly(k):
			errs = append(errs, &SettingError{Key: k, Value: v, Allowed: "nothing: it is Kafka's and has no effect in Firn"})
		case s == nil:
			errs = append(errs, unknownSetting(k, v, Origin{}))
		case !s.Dynamic:
			errs = append(errs, &SettingError{Key: k, Value: v, Allowed: "no change at run time: set it where the broker is started"})
		case !s.legal(v):
			errs = append(errs, &SettingError{Key: k, Value: v, Allowed: s.Allowed})
		}
	}
	return errors.Join(errs...)
}

// TopicDefaultsWith returns what topics fall back to on this broker, with what was set at run time for all
// brokers and for this one. The maps are not copied.
func (c *Config) TopicDefaultsWith(cluster, own map[string]string) topic.Defaults {
	d := c.TopicDefaults()
	d.Cluster, d.Broker = cluster, own
	return d
}

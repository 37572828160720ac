package controller

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"firn/metadata"
	"firn/metadata/topic"
)

// SettingOp is what AlterSettings does with one setting.
type SettingOp int8

// The operations; the numbers are those of IncrementalAlterConfigs.
const (
	SettingSet      SettingOp = 0
	SettingDelete   SettingOp = 1
	SettingAppend   SettingOp = 2 // to a list; what is in it already is not added
	SettingSubtract SettingOp = 3 // from a list
)

// SettingChange is one change to a setting.
type SettingChange struct {
	Name  string
	Op    SettingOp
	Value string
}

// AlterSettings changes the settings of one topic or broker.
type AlterSettings struct {
	Topic  string // a topic's name, or empty for a broker
	Broker int32  // a broker's id, or -1 for all brokers
	// Changes are applied to the present settings, or, if Replace is set, to none (every change is
	// then a SettingSet).
	Changes []SettingChange
	Replace bool
}

// AlterSettings changes settings; one error (or nil) per entry. The settings of a topic or broker change all
// together or not at all.
//
// Errors: ErrNotController, ErrUnknownTopic, ErrRequest, ErrConfig, also around what CheckBrokerSettings returns,
// *topic.Error, and metadata's.
func (c *Controller) AlterSettings(ctx context.Context, alter []AlterSettings, validateOnly bool) []error {
	return c.verb(ctx, "alter_settings", len(alter), func(ctx context.Context, errs []error) {
		img := c.store.Image()
		txns := make([]metadata.Txn, len(alter))
		seen := make(map[string]bool)
		for i, a := range alter {
			var key string
			txns[i], key, errs[i] = c.planSettings(img, a)
			if errs[i] == nil && seen[key] {
				errs[i] = fmt.Errorf("%w: %s is named twice", ErrRequest, a.target())
			}
			seen[key] = true
		}
		if !validateOnly {
			c.commitEach(ctx, txns, errs, conflict)
		}
	})
}

func (a *AlterSettings) target() string {
	switch {
	case a.Topic != "":
		return fmt.Sprintf("topic %q", a.Topic)
	case a.Broker < 0:
		return "all brokers"
	}
	return fmt.Sprintf("broker %d", a.Broker)
}

// planSettings returns the transaction that changes the settings of one topic or broker, and their key.
func (c *Controller) planSettings(img *metadata.Image, a AlterSettings) (txn metadata.Txn, key string, err error) {
	var now metadata.Settings
	txn.If = []metadata.Cmp{c.mine()}
	txn.Else = []string{c.keys.Controller()}
	base := c.opts.BrokerList
	switch {
	case a.Topic != "":
		t, ok := img.Topic(a.Topic)
		if !ok {
			return txn, "", fmt.Errorf("%w: %q", ErrUnknownTopic, a.Topic)
		}
		key, now = c.keys.TopicSettings(t.ID), img.TopicSettings(t.ID)
		txn.If = append(txn.If, metadata.ModIs(c.keys.Topic(t.ID), t.Rev))
		base = c.topicList(img)
	case a.Broker < 0:
		key, now = c.keys.ClusterSettings(), img.ClusterSettings()
	default:
		key, now = c.keys.BrokerSettings(a.Broker), img.BrokerSettings(a.Broker)
	}
	next := now
	if next.Values, err = applyChanges(now.Values, a, base); err != nil {
		return txn, key, err
	}
	switch {
	case a.Topic != "":
		err = c.checkTopicSettings(img, next.Values)
	default:
		err = c.checkBroker(max(a.Broker, -1), next.Values)
	}
	txn.If = append(txn.If, metadata.ModIs(key, now.Rev))
	if op := c.keys.PutSettings(key, next); now.Rev != 0 || !op.Delete {
		txn.Then = []metadata.Op{op}
	}
	return txn, key, err
}

// checkBroker validates the run-time settings of a broker, or of all.
func (c *Controller) checkBroker(id int32, values map[string]string) error {
	if err := checkText(values); err != nil {
		return err
	}
	if err := c.opts.CheckBrokerSettings(id, values); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return nil
}

// topicList says what a list setting of a topic is without an override.
func (c *Controller) topicList(img *metadata.Image) func(string) (string, bool) {
	return func(name string) (string, bool) {
		def := topic.Lookup(name)
		if def == nil || def.Type != topic.List {
			return "", false
		}
		d := c.opts.Defaults
		d.Cluster = img.ClusterOverrides()
		for _, v := range topic.Resolve(nil, d) {
			if v.Def == def {
				return v.Value, true
			}
		}
		return def.Default, true
	}
}

// applyChanges returns values with the changes applied. base gives what a list is without an override.
func applyChanges(values map[string]string, a AlterSettings, base func(string) (string, bool)) (map[string]string, error) {
	next := make(map[string]string)
	if !a.Replace {
		maps.Copy(next, values)
	}
	seen := make(map[string]bool)
	for _, ch := range a.Changes {
		if seen[ch.Name] {
			return nil, fmt.Errorf("%w: setting %q is named twice", ErrRequest, ch.Name)
		}
		seen[ch.Name] = true
		switch op := ch.Op; {
		case a.Replace && op != SettingSet:
			return nil, fmt.Errorf("%w: operation %d on %q in a replacement of all settings", ErrRequest, op, ch.Name)
		case op == SettingSet:
			next[ch.Name] = ch.Value
		case op == SettingDelete:
			delete(next, ch.Name)
		case op == SettingAppend || op == SettingSubtract:
			fallback, isList := base(ch.Name)
			if !isList {
				return nil, fmt.Errorf("%w: %q is not a list, it can only be set or deleted", ErrConfig, ch.Name)
			}
			now, ok := next[ch.Name]
			if !ok {
				now = fallback
			}
			next[ch.Name] = editList(now, ch.Value, op == SettingAppend)
		default:
			return nil, fmt.Errorf("%w: operation %d on %q", ErrRequest, op, ch.Name)
		}
	}
	return next, nil
}

// editList adds items to a comma-separated list or takes them away.
func editList(list, items string, add bool) string {
	now, edits := splitList(list), splitList(items)
	known := now
	if !add {
		known = edits
	}
	in := make(map[string]bool, len(known))
	for _, item := range known {
		in[item] = true
	}
	if !add {
		return strings.Join(slices.DeleteFunc(now, func(item string) bool { return in[item] }), ",")
	}
	for _, item := range edits {
		if !in[item] {
			in[item] = true
			now = append(now, item)
		}
	}
	return strings.Join(now, ",")
}

func splitList(s string) []string {
	var out []string
	for item := range strings.SplitSeq(s, ",") {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}

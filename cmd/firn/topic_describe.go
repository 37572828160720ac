package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// describedTopic is one topic as firn topic describe shows it.
type describedTopic struct {
	topicLine
	Settings   []describedSetting   `json:"settings"`
	Partitions []describedPartition `json:"partition_list"`
}

type describedSetting struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Source string `json:"source"`
	Doc    string `json:"doc,omitempty"`
}

// describedPartition is one partition; Start and End are -1 where no leader answers.
type describedPartition struct {
	Partition int32     `json:"partition"`
	Leader    int32     `json:"leader"`
	Epoch     int32     `json:"leader_epoch"`
	Replicas  brokerIDs `json:"replicas"`
	ISR       brokerIDs `json:"isr"`
	Start     int64     `json:"start"`
	End       int64     `json:"end"`
	Error     string    `json:"error,omitempty"`
}

func newTopicDescribe(a *app, c *client) *cobra.Command {
	var asJSON, all bool
	cmd := &cobra.Command{
		Use:   "describe NAME...",
		Short: "Show a topic's partitions and settings",
		Long: `Show a topic's partitions, their offsets, and the settings that the topic does not have by
default; with --all every setting.`,
		Example: "  firn topic describe logs\n  firn topic describe logs --all\n  firn topic describe a b --json",
		Args:    argCount(1, -1, "NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			adm, done, err := c.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			list, err := describeTopics(cmd.Context(), adm, args, all)
			if err != nil && len(list) == 0 {
				return err
			}
			if asJSON {
				return errors.Join(err, writeJSON(a.out, list))
			}
			for i, t := range list {
				if i > 0 {
					a.printf("\n")
				}
				err = errors.Join(err, printTopic(a.out, t))
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	cmd.Flags().BoolVar(&all, "all", false, "show every setting with its meaning")
	return cmd
}

func describeTopics(ctx context.Context, adm cluster, names []string, all bool) ([]describedTopic, error) {
	details, err := adm.ListTopicsWithInternal(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("describe topics: %w", err)
	}
	var list []describedTopic
	var errs []error
	for _, t := range details.Sorted() {
		if t.Err != nil {
			errs = append(errs, fmt.Errorf("describe topic %s: %w", t.Topic, missingTopic(t.Err)))
			continue
		}
		d := describedTopic{topicLine: topicLineOf(t)}
		starts, err := adm.ListStartOffsets(ctx, t.Topic)
		if err != nil && !ofSome(err) {
			errs = append(errs, fmt.Errorf("describe topic %s: %w", t.Topic, err))
			continue
		}
		ends, err := adm.ListEndOffsets(ctx, t.Topic)
		if err != nil && !ofSome(err) {
			errs = append(errs, fmt.Errorf("describe topic %s: %w", t.Topic, err))
			continue
		}
		for _, p := range t.Partitions.Sorted() {
			d.Partitions = append(d.Partitions, describePartition(p, starts, ends))
		}
		if d.Settings, err = describeSettings(ctx, adm, t.Topic, all); err != nil {
			errs = append(errs, fmt.Errorf("describe topic %s: %w", t.Topic, err))
			continue
		}
		list = append(list, d)
	}
	return list, errors.Join(errs...)
}

// ofSome reports whether an error is of partitions that nobody answers for: it is not in what is known of the others.
func ofSome(err error) bool {
	var some *kadm.ShardErrors
	return errors.As(err, &some)
}

// missingTopic words the error of a topic that is not there.
func missingTopic(err error) error {
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		return brokerError(err, "there is no such topic")
	}
	return brokerError(err, "")
}

func describePartition(p kadm.PartitionDetail, starts, ends kadm.ListedOffsets) describedPartition {
	d := describedPartition{Partition: p.Partition, Leader: p.Leader, Epoch: p.LeaderEpoch, Replicas: p.Replicas, ISR: p.ISR, Start: -1, End: -1}
	err := p.Err
	o, ok := starts.Lookup(p.Topic, p.Partition)
	switch {
	case ok && o.Err == nil:
		d.Start = o.Offset
	case err != nil:
	case ok:
		err = o.Err
	default:
		err = errors.New("its leader does not answer")
	}
	if o, ok := ends.Lookup(p.Topic, p.Partition); ok && o.Err == nil {
		d.End = o.Offset
	}
	if err != nil {
		d.Error = brokerError(err, "").Error()
	}
	return d
}

// describeSettings asks for the settings with their documentation, which kadm leaves out. Only those that
// are not defaults are returned unless all is set.
func describeSettings(ctx context.Context, adm cluster, name string, all bool) ([]describedSetting, error) {
	req := kmsg.NewPtrDescribeConfigsRequest()
	res := kmsg.NewDescribeConfigsRequestResource()
	res.ResourceType, res.ResourceName = kmsg.ConfigResourceTypeTopic, name
	req.Resources, req.IncludeDocumentation = append(req.Resources, res), true
	resp, err := req.RequestWith(ctx, adm.plain)
	if err != nil {
		return nil, err
	}
	out := []describedSetting{}
	for _, r := range resp.Resources {
		if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
			return nil, brokerError(err, deref(r.ErrorMessage))
		}
		for _, c := range r.Configs {
			if !all && c.Source != kmsg.ConfigSourceDynamicTopicConfig {
				continue
			}
			out = append(out, describedSetting{c.Name, deref(c.Value), strings.ToLower(c.Source.String()), deref(c.Documentation)})
		}
	}
	slices.SortFunc(out, func(a, b describedSetting) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func printTopic(out io.Writer, t describedTopic) error {
	_, _ = fmt.Fprintf(out, "%s  id %s, %s, %s\n", t.Name, t.ID, plural(t.topicLine.Partitions, "partition"), plural(t.Replicas, "replica"))
	for _, s := range t.Settings {
		from := ""
		if s.Source != "dynamic_topic_config" {
			from = "  (" + s.Source + ")"
		}
		_, _ = fmt.Fprintf(out, "  %s = %s%s\n", s.Name, s.Value, from)
		// A compacted topic is not what Kafka would make of it, so the broker's words are always shown.
		if s.Doc != "" && (from != "" || s.Name == "cleanup.policy" && strings.Contains(s.Value, "compact")) {
			for _, line := range wrap(s.Doc, docWidth(out)) {
				_, _ = fmt.Fprintf(out, "      %s\n", line)
			}
		}
	}
	tab := newTable(out, "PARTITION", "LEADER", "EPOCH", "REPLICAS", "ISR", "START", "END", "ERROR")
	for _, p := range t.Partitions {
		tab.row(p.Partition, p.Leader, p.Epoch, joinInts(p.Replicas), joinInts(p.ISR), p.Start, p.End, p.Error)
	}
	return tab.flush()
}

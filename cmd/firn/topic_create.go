package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func newTopicCreate(a *app, c *client) *cobra.Command {
	var partitions int32
	var replicas int16
	var configs []string
	var ifNotExists bool
	cmd := &cobra.Command{
		Use:   "create NAME...",
		Short: "Create topics",
		Example: `  firn topic create logs --partitions 3
  firn topic create audit --config retention.ms=-1 --config flush.messages=1
  firn topic create cache --config remote.storage.enable=false --if-not-exists`,
		Args: argCount(1, -1, "NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			kvs, err := keyValues("config", configs)
			if err != nil {
				return err
			}
			settings := map[string]*string{}
			for _, kv := range kvs {
				settings[kv[0]] = &kv[1]
			}
			adm, done, err := c.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			resps, err := adm.CreateTopics(cmd.Context(), partitions, replicas, settings, args...)
			if err != nil {
				return fmt.Errorf("create topics: %w", err)
			}
			var errs []error
			var there []string
			outcomes := resps.Sorted()
			for _, r := range outcomes {
				if r.Err == nil || errors.Is(r.Err, kerr.TopicAlreadyExists) {
					there = append(there, r.Topic)
				}
			}
			adm.awaitTopics(cmd.Context(), there)
			for _, r := range outcomes {
				switch {
				case r.Err == nil:
					a.printf("created %s%s\n", r.Topic, partitionCount(r.NumPartitions))
				case ifNotExists && errors.Is(r.Err, kerr.TopicAlreadyExists):
					a.printf("%s exists\n", r.Topic)
				default:
					errs = append(errs, fmt.Errorf("create topic %s: %w", r.Topic, brokerError(r.Err, r.ErrMessage)))
				}
			}
			return errors.Join(errs...)
		},
	}
	f := cmd.Flags()
	f.Int32Var(&partitions, "partitions", -1, "`N` partitions (default as the broker is set)")
	f.Int16Var(&replicas, "replication-factor", -1, "`N` replicas of each partition (default as the broker is set)")
	for _, name := range []string{"partitions", "replication-factor"} {
		f.Lookup(name).DefValue = "0" // which is not shown
	}
	f.StringArrayVar(&configs, "config", nil, "a topic setting as `KEY=VALUE`, any number of times; 'firn config --topic' lists them")
	f.BoolVar(&ifNotExists, "if-not-exists", false, "let a topic be that exists already")
	return cmd
}

// newsTime is how long a change is waited for that brokers hear of by themselves.
const newsTime = 2 * time.Second

// awaitTopics waits until all brokers that answer know topics, but not for long: the next command may ask any of them.
func (adm cluster) awaitTopics(ctx context.Context, names []string) {
	ctx, cancel := context.WithTimeout(ctx, newsTime)
	defer cancel()
	m, err := adm.BrokerMetadata(ctx)
	if err != nil || len(names) == 0 {
		return
	}
	unknown := func(t kmsg.MetadataResponseTopic) bool { return t.ErrorCode == kerr.UnknownTopicOrPartition.Code }
	var all sync.WaitGroup
	for _, b := range m.Brokers {
		all.Go(func() {
			req := kmsg.NewPtrMetadataRequest()
			for _, name := range names {
				t := kmsg.NewMetadataRequestTopic()
				t.Topic = kmsg.StringPtr(name)
				req.Topics = append(req.Topics, t)
			}
			for {
				resp, err := req.RequestWith(ctx, adm.plain.Broker(int(b.NodeID)))
				if err != nil || !slices.ContainsFunc(resp.Topics, unknown) || pause(ctx, 20*time.Millisecond) != nil {
					return
				}
			}
		})
	}
	all.Wait()
}

func partitionCount(n int32) string {
	if n <= 0 {
		return ""
	}
	return " with " + plural(int(n), "partition")
}

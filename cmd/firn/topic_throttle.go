package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// The settings of a reassignment's throttle (KIP-73). kafka-reassign-partitions sets those of followers, too.
const (
	throttledReplicas = "leader.replication.throttled.replicas" // of a topic
	throttledRate     = "leader.replication.throttled.rate"     // of a broker
)

// throttle holds the copying of a topic's partitions that move, or are about to by req, to so many bytes a second from
// each broker that has them.
func throttle(ctx context.Context, adm cluster, name string, req kadm.AlterPartitionAssignmentsReq, bytesPerSecond int64) error {
	details, err := adm.ListTopicsWithInternal(ctx, name)
	if err != nil {
		return fmt.Errorf("throttle %s: %w", name, err)
	}
	list, err := moves(ctx, adm, name)
	if err != nil {
		return fmt.Errorf("throttle %s: %w", name, err)
	}
	from := map[int32][]int32{} // the brokers that have each partition now
	for p := range req[name] {
		from[p] = details[name].Partitions[p].Replicas
	}
	for _, m := range list {
		from[m.Partition] = without(m.Replicas, m.Adding)
	}
	if len(from) == 0 {
		return nil
	}
	var pairs []string
	var brokers []int32
	for _, p := range slices.Sorted(maps.Keys(from)) {
		for _, id := range from[p] {
			pairs = append(pairs, fmt.Sprintf("%d:%d", p, id))
		}
		brokers = append(brokers, from[p]...)
	}
	if err := alterSettings(ctx, adm, name, []kadm.AlterConfig{setTo(throttledReplicas, strings.Join(pairs, ","))}); err != nil {
		return err
	}
	slices.Sort(brokers)
	return alterBrokers(ctx, adm, slices.Compact(brokers), setTo(throttledRate, strconv.FormatInt(bytesPerSecond, 10)))
}

// unthrottle takes the throttle off a topic, and if nothing moves in the cluster any more, off the brokers.
func unthrottle(ctx context.Context, adm cluster, name string) error {
	if err := alterSettings(ctx, adm, name, []kadm.AlterConfig{unset(throttledReplicas)}); err != nil {
		return err
	}
	v, err := adm.view(ctx)
	if err != nil {
		return fmt.Errorf("lift the throttle: %w", err)
	}
	if len(v.Moves) > 0 {
		return nil
	}
	var brokers []int32
	for _, b := range v.Brokers {
		if b.Up {
			brokers = append(brokers, b.ID)
		}
	}
	return alterBrokers(ctx, adm, brokers, unset(throttledRate))
}

func alterBrokers(ctx context.Context, adm cluster, brokers []int32, changes ...kadm.AlterConfig) error {
	resps, err := adm.AlterBrokerConfigs(ctx, changes, brokers...)
	if err != nil {
		return fmt.Errorf("change the brokers' throttle: %w", err)
	}
	var errs []error
	for _, r := range resps {
		if r.Err != nil && !errors.Is(r.Err, kerr.BrokerIDNotRegistered) { // has left
			errs = append(errs, fmt.Errorf("change the throttle of broker %s: %w", r.Name, brokerError(r.Err, r.ErrMessage)))
		}
	}
	return errors.Join(errs...)
}

func setTo(name, value string) kadm.AlterConfig {
	return kadm.AlterConfig{Op: kadm.SetConfig, Name: name, Value: &value}
}

func unset(name string) kadm.AlterConfig { return kadm.AlterConfig{Op: kadm.DeleteConfig, Name: name} }

// without returns list without what is in gone.
func without(list, gone []int32) []int32 {
	return slices.DeleteFunc(slices.Clone(list), func(id int32) bool { return slices.Contains(gone, id) })
}

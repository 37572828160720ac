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

// The settings of a reassignment's throttle (KIP-73), as kafka-reassign-partitions sets them.
const (
	throttledLeaders   = "leader.replication.throttled.replicas" // of a topic
	throttledFollowers = "follower.replication.throttled.replicas"
	leaderRate         = "leader.replication.throttled.rate" // of a broker
	followerRate       = "follower.replication.throttled.rate"
)

// throttle holds the copying of a topic's partitions that move, or are about to by req, to so many bytes a second from
// each broker that has them, and to each that is to have them.
func throttle(ctx context.Context, adm cluster, name string, req kadm.AlterPartitionAssignmentsReq, bytesPerSecond int64) error {
	details, err := adm.ListTopicsWithInternal(ctx, name)
	if err != nil {
		return fmt.Errorf("throttle %s: %w", name, err)
	}
	list, err := moves(ctx, adm, name)
	if err != nil {
		return fmt.Errorf("throttle %s: %w", name, err)
	}
	from, to := map[int32][]int32{}, map[int32][]int32{} // the brokers that have each partition now, and that do not yet
	for _, m := range list {
		from[m.Partition], to[m.Partition] = without(m.Replicas, m.Adding), m.Adding
	}
	for p, replicas := range req[name] {
		if from[p] == nil {
			from[p] = details[name].Partitions[p].Replicas
		}
		to[p] = without(replicas, from[p])
	}
	if len(from) == 0 {
		return nil
	}
	leaders, brokers := pairs(from)
	followers, others := pairs(to)
	if err := alterSettings(ctx, adm, name, []kadm.AlterConfig{setTo(throttledLeaders, leaders), setTo(throttledFollowers, followers)}); err != nil {
		return err
	}
	rate := strconv.FormatInt(bytesPerSecond, 10)
	brokers = append(brokers, others...)
	slices.Sort(brokers)
	return alterBrokers(ctx, adm, slices.Compact(brokers), setTo(leaderRate, rate), setTo(followerRate, rate))
}

// pairs writes replicas as PARTITION:BROKER with commas between, and returns all their brokers.
func pairs(replicas map[int32][]int32) (list string, brokers []int32) {
	var all []string
	for _, p := range slices.Sorted(maps.Keys(replicas)) {
		for _, id := range replicas[p] {
			all = append(all, fmt.Sprintf("%d:%d", p, id))
		}
		brokers = append(brokers, replicas[p]...)
	}
	return strings.Join(all, ","), brokers
}

// unthrottle takes the throttle off a topic, and if nothing moves in the cluster any more, off the brokers.
func unthrottle(ctx context.Context, adm cluster, name string) error {
	if err := alterSettings(ctx, adm, name, []kadm.AlterConfig{unset(throttledLeaders), unset(throttledFollowers)}); err != nil {
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
	return alterBrokers(ctx, adm, brokers, unset(leaderRate), unset(followerRate))
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

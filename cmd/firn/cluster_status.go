package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"
)

// clusterStatus is a cluster as firn cluster status shows it.
type clusterStatus struct {
	Healthy         bool              `json:"healthy"`
	Controller      int32             `json:"controller"` // -1: none
	Brokers         []brokerLine      `json:"brokers"`
	Partitions      int               `json:"partitions"`
	UnderReplicated []troubled        `json:"under_replicated"`
	Offline         []troubled        `json:"offline"`
	Moving          []movingPartition `json:"moving"`
	// TierLagBytes and TierLagSeconds are what is not archived yet, of all brokers that told, and the age of the oldest.
	TierLagBytes   int64   `json:"tier_lag_bytes"`
	TierLagSeconds float64 `json:"tier_lag_seconds"`
	TierFailures   int     `json:"tier_failures"` // partitions whose last upload failed
	// Etcd is "ok" where a broker that is up says that its lease holds, or what it says instead, by broker.
	Etcd map[int32]string `json:"etcd"`
}

// troubled is a partition that is not as it should be.
type troubled struct {
	Topic     string    `json:"topic"`
	Partition int32     `json:"partition"`
	Leader    int32     `json:"leader"`
	Replicas  brokerIDs `json:"replicas"`
	ISR       brokerIDs `json:"isr"`
}

func newClusterStatus(a *app) *cobra.Command {
	var c *client
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show brokers, controller, partitions in trouble, tier lag and etcd",
		Long: `Show a cluster's brokers and controller, partitions that nobody leads or that have fewer replicas
in sync than they should, partitions that are moving, how far archiving is behind, and whether
each broker reaches etcd. The last two are asked of each broker's http.listen.

The exit code is 0 if all is well and 1 if a broker is down, there is no controller, a partition is
offline or under-replicated, an upload fails, or a broker does not reach etcd or does not tell.`,
		Example: "  firn cluster status\n  firn cluster status --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			adm, done, err := c.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			v, err := adm.view(cmd.Context())
			if err != nil {
				return fmt.Errorf("cluster status: %w", err)
			}
			s := statusOf(&v)
			if err := s.askConsoles(cmd.Context(), adm); err != nil {
				return fmt.Errorf("cluster status: %w", err)
			}
			wrong := s.wrong()
			s.Healthy = len(wrong) == 0
			if asJSON {
				err = writeJSON(a.out, s)
			} else {
				err = s.print(a.out)
			}
			if err == nil && !s.Healthy {
				err = errors.New(strings.Join(wrong, ", "))
			}
			return err
		},
	}
	c = clientFlags(a, cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	return cmd
}

// statusOf is what Kafka's own requests tell.
func statusOf(v *clusterView) *clusterStatus {
	s := &clusterStatus{
		Controller: v.Controller, Brokers: v.Brokers, UnderReplicated: []troubled{}, Offline: []troubled{},
		Moving: []movingPartition{}, Etcd: map[int32]string{},
	}
	for _, m := range v.Moves.Sorted() {
		s.Moving = append(s.Moving, movingPartition{m.Topic, m.Partition, m.Replicas, m.AddingReplicas, m.RemovingReplicas})
	}
	for _, t := range v.Topics.Sorted() {
		for _, p := range t.Partitions.Sorted() {
			s.Partitions++
			d := troubled{p.Topic, p.Partition, p.Leader, p.Replicas, p.ISR}
			if p.Leader < 0 {
				s.Offline = append(s.Offline, d)
			}
			m := v.Moves[p.Topic][p.Partition]
			if slices.ContainsFunc(p.Replicas, func(id int32) bool {
				return !slices.Contains(p.ISR, id) && !slices.Contains(m.AddingReplicas, id) && !slices.Contains(m.RemovingReplicas, id)
			}) {
				s.UnderReplicated = append(s.UnderReplicated, d)
			}
		}
	}
	return s
}

// askConsoles adds what only consoles tell. One that does not answer is trouble of its own.
func (s *clusterStatus) askConsoles(ctx context.Context, adm cluster) error {
	var mu sync.Mutex
	answers, err := adm.askConsoles(ctx, func(addr string) error { return s.askConsole(ctx, addr, &mu) })
	for id, err := range answers {
		s.Etcd[id] = "ok"
		if err != nil {
			s.Etcd[id] = err.Error()
		}
	}
	return err
}

// askConsole adds one broker's tier lag, holding mu. The error is what it says of its lease, if not that it holds.
func (s *clusterStatus) askConsole(ctx context.Context, addr string, mu sync.Locker) error {
	list, err := fetchTier(ctx, addr, "")
	if err != nil {
		return err
	}
	mu.Lock()
	for _, p := range list {
		s.TierLagBytes += p.LagBytes
		s.TierLagSeconds = max(s.TierLagSeconds, p.LagSeconds)
		if p.Failures > 0 {
			s.TierFailures++
		}
	}
	mu.Unlock()
	return fetchLease(ctx, addr)
}

// wrong says what is not well, in few words.
func (s *clusterStatus) wrong() []string {
	var out []string
	add := func(n int, thing, what string) {
		if n > 0 {
			out = append(out, plural(n, thing)+what)
		}
	}
	down := 0
	for _, b := range s.Brokers {
		if !b.Up {
			down++
		}
	}
	add(down, "broker", " down")
	if s.Controller < 0 {
		out = append(out, "no controller")
	}
	add(len(s.Offline), "partition", " offline")
	add(len(s.UnderReplicated), "partition", " under-replicated")
	add(s.TierFailures, "failing upload", "")
	lost := 0
	for _, text := range s.Etcd {
		if text != "ok" {
			lost++
		}
	}
	add(lost, "broker", " without etcd")
	return out
}

func (s *clusterStatus) print(out io.Writer) error {
	if err := printBrokers(out, s.Brokers); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(out, "\npartitions        %d\nunder-replicated  %d\noffline           %d\nmoving            %d\ntier lag          %s, %.0f s\n",
		s.Partitions, len(s.UnderReplicated), len(s.Offline), len(s.Moving), humanBytes(s.TierLagBytes), s.TierLagSeconds)
	for _, b := range s.Brokers {
		if text, ok := s.Etcd[b.ID]; ok {
			_, _ = fmt.Fprintf(out, "etcd, broker %-4d %s\n", b.ID, text)
		}
	}
	if len(s.Offline)+len(s.UnderReplicated) == 0 {
		return nil
	}
	_, _ = fmt.Fprintln(out)
	tab := newTable(out, "TOPIC", "PARTITION", "LEADER", "REPLICAS", "ISR")
	for _, p := range s.UnderReplicated {
		tab.row(p.Topic, p.Partition, p.Leader, joinInts(p.Replicas), joinInts(p.ISR))
	}
	for _, p := range s.Offline {
		if !slices.ContainsFunc(s.UnderReplicated, func(u troubled) bool { return u.Topic == p.Topic && u.Partition == p.Partition }) {
			tab.row(p.Topic, p.Partition, p.Leader, joinInts(p.Replicas), joinInts(p.ISR))
		}
	}
	return tab.flush()
}

package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// trioSize is how many brokers a trio has, and how many replicas what is replicated there.
const trioSize = 3

// trio is brokers 1 to 3 of one cluster, as processes on this machine, and their etcd.
type trio struct {
	etcd     *process
	endpoint string
	brokers  []*node
	cluster  Cluster
	adm      *kadm.Client
}

// onTrio runs fn against three fresh brokers. settings are for all of them.
func (s *Suite) onTrio(ctx context.Context, name string, fn func(*trio) error, settings ...string) (err error) {
	dir := filepath.Join(s.Dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	t := &trio{}
	defer func() {
		err = errors.Join(err, t.close())
		if err == nil {
			err = os.RemoveAll(dir)
		}
	}()
	if t.etcd, t.endpoint, err = s.startEtcd(ctx, filepath.Join(dir, "etcd")); err != nil {
		return err
	}
	var addrs []string
	for id := 1; id <= trioSize; id++ {
		args := []string{"--set", "node.id=" + strconv.Itoa(id), "--set", "etcd.endpoints=" + t.endpoint}
		for _, set := range settings {
			args = append(args, "--set", set)
		}
		n, err := s.start(ctx, "broker", filepath.Join(dir, "broker-"+strconv.Itoa(id)), nil, args...)
		if err != nil {
			return err
		}
		t.brokers = append(t.brokers, n)
		addrs = append(addrs, n.cluster.Bootstrap)
	}
	t.cluster = Cluster{strings.Join(addrs, ",")}
	cl, err := t.cluster.client(kgo.MetadataMinAge(10 * time.Millisecond))
	if err != nil {
		return err
	}
	t.adm = kadm.NewClient(cl)
	return fn(t)
}

// close stops everything that still runs.
func (t *trio) close() error {
	if t.adm != nil {
		t.adm.Close()
	}
	var errs []error
	for _, n := range t.brokers {
		if !n.ended() {
			errs = append(errs, n.stop())
		}
	}
	if t.etcd != nil && !t.etcd.ended() {
		errs = append(errs, t.etcd.stop())
	}
	return errors.Join(errs...)
}

// ended reports whether the process has.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// createPlaced makes a topic with the replicas given for each partition, the preferred leader first, and waits until all of
// them are in sync.
func (t *trio) createPlaced(ctx context.Context, name string, replicas [][]int32, level string, more map[string]string) error {
	configs, err := levelConfig(level)
	if err != nil {
		return err
	}
	for k, v := range more {
		configs[k] = v
	}
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = int32(startPatience.Milliseconds())
	rt := kmsg.NewCreateTopicsRequestTopic()
	rt.Topic, rt.NumPartitions, rt.ReplicationFactor = name, -1, -1
	for p, ids := range replicas {
		ra := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
		ra.Partition, ra.Replicas = int32(p), ids
		rt.ReplicaAssignment = append(rt.ReplicaAssignment, ra)
	}
	for k, v := range configs {
		rc := kmsg.NewCreateTopicsRequestTopicConfig()
		rc.Name, rc.Value = k, &v
		rt.Configs = append(rt.Configs, rc)
	}
	req.Topics = append(req.Topics, rt)
	cl, err := t.cluster.client()
	if err != nil {
		return err
	}
	defer cl.Close()
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return fmt.Errorf("create topic %s: %w", name, err)
	}
	// On a busy machine thousands of partitions may take longer than the answer may.
	if err := kerr.ErrorForCode(resp.Topics[0].ErrorCode); err != nil && !errors.Is(err, kerr.RequestTimedOut) {
		return fmt.Errorf("create topic %s: %w", name, err)
	}
	return t.awaitInSync(ctx, name, len(replicas), len(replicas[0]))
}

// ledByAll places n partitions over all brokers, each of them leading a third.
func ledByAll(n int) [][]int32 {
	out := make([][]int32, n)
	for p := range out {
		for i := range trioSize {
			out[p] = append(out[p], int32((p+i)%trioSize+1))
		}
	}
	return out
}

// ledBy places n partitions on all brokers, led by one of them; the others take turns to be next.
func ledBy(leader int32, n int) [][]int32 {
	out := make([][]int32, n)
	for p := range out {
		a, b := leader%trioSize+1, (leader+1)%trioSize+1
		if p%2 == 1 {
			a, b = b, a
		}
		out[p] = []int32{leader, a, b}
	}
	return out
}

// awaitInSync waits until each of a topic's partitions is led and has n replicas in sync.
func (t *trio) awaitInSync(ctx context.Context, name string, partitions, n int) error {
	return t.awaitPartitions(ctx, name, partitions, func(p kadm.PartitionDetail) bool { return p.Leader > 0 && len(p.ISR) == n })
}

// unmoved notes it if other brokers than the preferred ones lead a topic's partitions: then the machine was so busy that a
// broker could not keep its lease, and what was measured is not what was meant.
func (t *trio) unmoved(ctx context.Context, sec *Section, name string) error {
	md, err := t.adm.Metadata(ctx, name)
	if err != nil {
		return err
	}
	moved := 0
	for _, p := range md.Topics[name].Partitions {
		if len(p.Replicas) > 0 && p.Leader != p.Replicas[0] {
			moved++
		}
	}
	if moved > 0 {
		sec.note("NOT VALID: %d partitions got other leaders meanwhile, as a broker lost its lease on this machine", moved)
	}
	return nil
}

// awaitPartitions waits until each of a topic's partitions is as ok says.
func (t *trio) awaitPartitions(ctx context.Context, name string, partitions int, ok func(kadm.PartitionDetail) bool) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	return poll(ctx, 100*time.Millisecond, "partitions of "+name, func() (bool, error) {
		md, err := t.adm.Metadata(ctx, name)
		if err != nil {
			return false, err
		}
		ps := md.Topics[name].Partitions
		for _, p := range ps {
			if p.Err != nil || !ok(p) {
				return false, fmt.Errorf("partition %d: leader %d, in sync %v, %w", p.Partition, p.Leader, p.ISR, p.Err)
			}
		}
		return len(ps) == partitions, md.Topics[name].Err
	})
}

// rebalance has the preferred leaders lead a topic again.
func (t *trio) rebalance(ctx context.Context, name string, partitions int) error {
	_, err := t.adm.ElectLeaders(ctx, kadm.ElectPreferredReplica, kadm.TopicsSet{name: allPartitions(partitions)})
	if err != nil {
		return fmt.Errorf("elect the preferred leaders of %s: %w", name, err)
	}
	return t.awaitPartitions(ctx, name, partitions, func(p kadm.PartitionDetail) bool {
		return p.Leader == p.Replicas[0] && len(p.ISR) == len(p.Replicas)
	})
}

func allPartitions(n int) map[int32]struct{} {
	all := map[int32]struct{}{}
	for p := range int32(n) {
		all[p] = struct{}{}
	}
	return all
}

// metric reads one number from a broker's metrics.
func (n *node) metric(ctx context.Context, name string) (float64, error) {
	var found float64
	err := n.get(ctx, "/metrics", func(body []byte) error {
		for line := range strings.Lines(string(body)) {
			if value, ok := strings.CutPrefix(line, name+" "); ok {
				var err error
				found, err = strconv.ParseFloat(strings.TrimSpace(value), 64)
				return err
			}
		}
		return fmt.Errorf("no metric %s", name)
	})
	return found, err
}

// tierOf is what a broker says of one partition's tier.
type tierOf struct {
	Partition      int32 `json:"partition"`
	Leader         int32 `json:"leader"`
	LocalStart     int64 `json:"local_start"`
	TieredEnd      int64 `json:"tiered_end"`
	TieredSegments int64 `json:"tiered_segments"`
	LocalBytes     int64 `json:"local_bytes"`
	LagBytes       int64 `json:"lag_bytes"`
	End            int64 `json:"end"`
}

// tiers is what a broker says of a topic's partitions that it leads or follows.
func (n *node) tiers(ctx context.Context, topic string) ([]tierOf, error) {
	var list []tierOf
	err := n.get(ctx, "/v1/tier?topic="+topic, func(body []byte) error { return json.Unmarshal(body, &list) })
	slices.SortFunc(list, func(a, b tierOf) int { return int(a.Partition - b.Partition) })
	return list, err
}

// maxConsole bounds an answer of a broker's console.
const maxConsole = 64 << 20

func (n *node) get(ctx context.Context, path string, use func([]byte) error) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.console+path, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxConsole))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	if err == nil {
		err = use(body)
	}
	if err != nil {
		return fmt.Errorf("%s%s: %w", n.console, path, err)
	}
	return nil
}

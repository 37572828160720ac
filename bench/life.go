package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// startFlags are flags of dev in all sections: no bucket unless it is what is measured.
var startFlags = []string{"--tier", "none"}

// firstAck measures how long it takes from the start of an empty broker until it has acked a record.
func (s *Suite) firstAck(ctx context.Context) (*Section, error) {
	sec := &Section{Name: "first ack of an empty firn dev --topic t", Setting: "flush: durable; from the start of the process until a record is acked"}
	f := sec.figure("first ack", "s")
	for round := range s.Rounds {
		dir := filepath.Join(s.Dir, fmt.Sprintf("first-%d", round))
		n, err := s.launch("dev", dir, nil, "--topic", "t")
		if err != nil {
			return nil, err
		}
		err = ackOne(ctx, n)
		f.add(time.Since(n.began).Seconds())
		if err := errors.Join(err, n.stop(), os.RemoveAll(dir)); err != nil {
			return nil, err
		}
	}
	sec.check("first ack", "s", f.Rounds, limitFirstAck, true)
	return sec, nil
}

// ackOne produces one record as soon as that can be done.
func ackOne(ctx context.Context, n *node) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	soon := func(int) time.Duration { return 2 * time.Millisecond }
	cl, err := n.cluster.client(kgo.DefaultProduceTopic("t"), kgo.RetryBackoffFn(soon), kgo.MetadataMinAge(10*time.Millisecond),
		kgo.UnknownTopicRetries(-1), kgo.RecordRetries(1<<20), kgo.ProducerLinger(0))
	if err != nil {
		return err
	}
	defer cl.Close()
	return cl.ProduceSync(ctx, &kgo.Record{Value: []byte("first")}).FirstErr()
}

// idleWait is how long a process that has nothing to do is left alone before its memory is read.
const idleWait = 10 * time.Second

// idle measures the memory of brokers that have nothing to do.
func (s *Suite) idle(ctx context.Context) (*Section, error) {
	sec := &Section{Name: "idle", Setting: fmt.Sprintf("RSS %v after the start, no topics", idleWait)}
	rss := func(n *node, name string, limit float64) error {
		pause := time.NewTimer(idleWait)
		select {
		case <-pause.C:
		case <-ctx.Done():
		}
		u, err := ReadUsage(n.pid())
		if err == nil {
			sec.figure(name+" peak RSS", "MiB").add(float64(u.PeakRSS) / mib)
			sec.check(name+" RSS", "MiB", []float64{float64(u.RSS) / mib}, limit, true)
		}
		return errors.Join(err, n.stop())
	}
	n, err := s.start(ctx, "dev", filepath.Join(s.Dir, "idle-dev"), nil)
	if err != nil {
		return nil, err
	}
	if err := rss(n, "firn dev", limitIdleDev); err != nil {
		return nil, err
	}
	if s.Etcd == "" {
		sec.note("firn broker was left out: there is no etcd program (--etcd)")
		return sec, nil
	}
	dir := filepath.Join(s.Dir, "idle-broker")
	n, done, err := s.plain(ctx, dir)
	if err != nil {
		return nil, err
	}
	return sec, errors.Join(rss(n, "firn broker", limitIdleBroker), done())
}

// startEtcd starts an etcd of one member and returns its address.
func (s *Suite) startEtcd(ctx context.Context, dir string) (*process, string, error) {
	client, err := freeAddr()
	if err != nil {
		return nil, "", err
	}
	peer, err := freeAddr()
	if err != nil {
		return nil, "", err
	}
	p, err := startProcess("etcd", s.Etcd, dir+".out", nil, "--data-dir", dir, "--listen-client-urls", "http://"+client,
		"--advertise-client-urls", "http://"+client, "--listen-peer-urls", "http://"+peer,
		"--initial-advertise-peer-urls", "http://"+peer, "--initial-cluster", "default=http://"+peer)
	if err != nil {
		return nil, "", err
	}
	if err := p.await(ctx, "http://"+client+"/health", 50*time.Millisecond); err != nil {
		p.kill()
		return nil, "", err
	}
	return p, client, nil
}

// restart measures how long a broker with many partitions takes from its start until all of them answer,
// after it was stopped and after it was killed.
func (s *Suite) restart(ctx context.Context) (*Section, error) {
	sec := &Section{Name: fmt.Sprintf("restart with %d partitions", s.Partitions), Setting: "flush: durable; records in every partition; from the start of the process until all partitions say where they end"}
	dir := filepath.Join(s.Dir, "restart")
	n, err := s.start(ctx, "dev", dir, nil, startFlags...)
	if err != nil {
		return nil, err
	}
	defer func() { n.kill() }()
	if err := n.cluster.CreateTopic(ctx, "many", s.Partitions, Durable, nil); err != nil {
		return nil, err
	}
	values, err := NewValues(JSON, 1024, 1)
	if err != nil {
		return nil, err
	}
	for round := range s.Rounds {
		for _, how := range []string{"clean stop", "kill -9"} {
			// A batch of one record for nearly every partition, a few times over.
			load := &Produce{Cluster: n.cluster, Topic: "many", Values: values, Sending: Sending{BatchBytes: 1024}, Bytes: int64(s.Partitions) * 4096}
			if _, err := load.Run(ctx); err != nil {
				return nil, err
			}
			if how == "clean stop" {
				if err := n.stop(); err != nil {
					return nil, err
				}
			} else {
				n.kill()
			}
			if n, err = s.launch("dev", dir, nil, startFlags...); err != nil {
				return nil, err
			}
			took, err := n.awaitAll(ctx, "many", s.Partitions)
			if err != nil {
				return nil, fmt.Errorf("restart %d after a %s: %w", round+1, how, err)
			}
			sec.figure("after a "+how, "s").add(took.Seconds())
		}
	}
	sec.check("after a clean stop", "s", sec.figure("after a clean stop", "").Rounds, limitCleanStart, true)
	sec.check("after a kill -9", "s", sec.figure("after a kill -9", "").Rounds, limitKillStart, true)
	u, err := ReadUsage(n.pid())
	if err != nil {
		return nil, err
	}
	sec.figure("RSS", "MiB").add(float64(u.RSS) / mib)
	return sec, n.stop()
}

// awaitAll waits until every partition says where it ends, and returns how long after the start that was.
func (n *node) awaitAll(ctx context.Context, topic string, partitions int) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	cl, err := n.cluster.client(kgo.RetryTimeout(time.Millisecond), kgo.RequestRetries(0), kgo.MetadataMinAge(10*time.Millisecond))
	if err != nil {
		return 0, err
	}
	defer cl.Close()
	err = poll(ctx, 5*time.Millisecond, "all partitions", func() (bool, error) {
		ends, err := listOffsets(ctx, cl, topic, latestOffset)
		return err == nil && len(ends) == partitions, err
	})
	return time.Since(n.began), err
}

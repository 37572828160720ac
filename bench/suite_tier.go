package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// seekCount is how many seeks are measured.
const seekCount = 5

// replay measures everything about the tier on one broker and one MinIO, whose memory over the whole part
// is judged at its end.
func (s *Suite) replay(ctx context.Context) error {
	if s.MinIO == "" {
		return s.Done(&Section{Name: "cold replay", Notes: []string{"left out: there is no MinIO program (--minio)"}})
	}
	minio, err := s.startBucket(ctx, filepath.Join(s.Dir, "minio"))
	if err != nil {
		return err
	}
	err = s.replayFrom(ctx, minio)
	return errors.Join(err, minio.stop(), os.RemoveAll(filepath.Join(s.Dir, "minio")))
}

func (s *Suite) replayFrom(ctx context.Context, minio *bucketServer) error {
	dir := filepath.Join(s.Dir, "replay")
	bucket, err := ParseBucket(minio.tier)
	if err != nil {
		return err
	}
	n, err := s.start(ctx, "dev", dir, minio.env, "--tier", minio.tier)
	if err != nil {
		return err
	}
	defer func() { n.kill() }()
	total := int64(0)
	var topics []string
	var ends []int64
	for _, kind := range []string{JSON, Random} {
		values, err := s.values(kind)
		if err != nil {
			return err
		}
		topic := topicName("replay-"+kind, 0)
		to, err := FillTier(ctx, n.cluster, topic, nil, values, s.ReplayBytes)
		if err != nil {
			return err
		}
		c := CompareReplay{
			Server: n.server(), Probes: s.Probes, Dir: s.Dir, Topic: topic, Bucket: &bucket, Env: minio.env, Rounds: s.Rounds, Values: values,
		}
		sec, err := c.Run(ctx)
		if err != nil {
			return err
		}
		if err := s.Done(sec); err != nil {
			return err
		}
		topics, ends = append(topics, topic), append(ends, to)
		total += s.ReplayBytes * int64(1+2*s.Rounds)
	}
	if err := s.beside(ctx, n, minio, bucket, topics[0]); err != nil {
		return err
	}
	if err := s.memory(n, total); err != nil {
		return err
	}
	times, err := s.seekTimes(ctx, n, topics[0], ends[0])
	if err != nil {
		return err
	}
	if err := n.stop(); err != nil {
		return err
	}
	if n, err = s.start(ctx, "dev", dir, minio.env, "--tier", minio.tier); err != nil {
		return err
	}
	sec, err := n.seeks(ctx, topics[0], ends[0], times)
	if err != nil {
		return err
	}
	if err := s.Done(sec); err != nil {
		return err
	}
	return errors.Join(n.stop(), os.RemoveAll(dir))
}

func (s *Suite) beside(ctx context.Context, n *node, minio *bucketServer, bucket Bucket, topic string) error {
	values, err := s.values(JSON)
	if err != nil {
		return err
	}
	sec, err := (&Beside{
		Latency: s.latencyOn(n, values),
		Replay:  CompareReplay{Server: n.server(), Probes: s.Probes, Dir: s.Dir, Topic: topic, Bucket: &bucket, Env: minio.env, Values: values},
		Pace:    replayPace,
	}).Run(ctx)
	if err != nil {
		return err
	}
	return s.Done(sec)
}

// memory judges the most a broker has used so far.
func (s *Suite) memory(n *node, moved int64) error {
	sec := &Section{Name: "memory", Setting: fmt.Sprintf("firn dev over all of the above, at least %d MiB of produce, uploads, replays and fetches", moved/mib)}
	u, err := ReadUsage(n.pid())
	if err != nil {
		return err
	}
	sec.check("peak RSS", "MiB", []float64{float64(u.PeakRSS) / mib}, limitRSS, true)
	return s.Done(sec)
}

// seekTimes are times that are spread over a topic.
func (s *Suite) seekTimes(ctx context.Context, n *node, topic string, to int64) ([]int64, error) {
	first, err := n.timeOf(ctx, topic, 0)
	if err != nil {
		return nil, err
	}
	last, err := n.timeOf(ctx, topic, to-1)
	if err != nil {
		return nil, err
	}
	var times []int64
	for i := range int64(seekCount) {
		times = append(times, first+(last-first)*(2*i+1)/(2*seekCount))
	}
	return times, nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"firn/broker/brokertest"
	"firn/tiering/objstore/objtest"
)

// rawFetch asks once for a partition from an offset on and returns what the broker answers, errors of Kafka's included.
func rawFetch(ctx context.Context, cl *kgo.Client, topic string, partition int32, offset int64, maxWait time.Duration) (kmsg.FetchResponseTopicPartition, error) {
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.SessionEpoch = int32(maxWait.Milliseconds()), 1, 1<<20, -1
	rt, rp := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
	rt.Topic, rp.Partition, rp.FetchOffset, rp.PartitionMaxBytes = topic, partition, offset, 1<<20
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	resp, err := cl.SeedBrokers()[0].Request(ctx, req)
	if err != nil {
		return kmsg.FetchResponseTopicPartition{}, err
	}
	fetched := resp.(*kmsg.FetchResponse)
	if fetched.ErrorCode != 0 || len(fetched.Topics) != 1 || len(fetched.Topics[0].Partitions) != 1 {
		return kmsg.FetchResponseTopicPartition{}, fmt.Errorf("fetch answered with error %v and %d topics", kerr.ErrorForCode(fetched.ErrorCode), len(fetched.Topics))
	}
	p := fetched.Topics[0].Partitions[0]
	return p, kerr.ErrorForCode(p.ErrorCode)
}

// byName is a client that names topics in its requests instead of giving their ids.
func byName(t *testing.T, p *brokertest.Process) *kgo.Client {
	t.Helper()
	return kafkaClient(t, p, kgo.MaxVersions(kversion.V3_0_0()))
}

// While the bucket is away, producing goes on, what is not archived stays on the disk and can be seen, and reads of
// what is in the bucket alone are answered with an error that clients try again after. When it is back, uploads and
// reads go on by themselves.
func TestBucketAway(t *testing.T) {
	for name, url := range bucketURLs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bucketAway(t, url, func(s *objtest.Server) func() { s.Kill(); return s.Restart })
		})
	}
}

// bucketURLs name a bucket for each driver of stores that are servers, with the credentials for it.
var bucketURLs = map[string]func(s *objtest.Server) (url string, env []string){
	"minio": func(s *objtest.Server) (string, []string) {
		return "minio://" + s.Host + "/" + s.Bucket + "/x?tls=false", []string{"MINIO_ACCESS_KEY=" + s.AccessKey, "MINIO_SECRET_KEY=" + s.SecretKey}
	},
	"s3": func(s *objtest.Server) (string, []string) {
		return "s3://" + s.Bucket + "/x?endpoint=" + s.Endpoint + "&region=us-east-1&path-style=true",
			[]string{"AWS_ACCESS_KEY_ID=" + s.AccessKey, "AWS_SECRET_ACCESS_KEY=" + s.SecretKey}
	},
}

// bucketAway takes the bucket away from a broker at work and brings it back.
func bucketAway(t *testing.T, url func(*objtest.Server) (string, []string), begin func(*objtest.Server) (back func())) {
	t.Helper()
	store := objtest.StartMinIO(t)
	tier, env := url(store)
	p := brokertest.StartDev(t, brokertest.Options{Env: env, Args: []string{
		"--tier", tier, "--set", "log.retention.check.interval.ms=200", "--set", "tier.cache.bytes=0",
	}})
	r := newPacedRig(t, p, 2*time.Millisecond)
	r.awaitArchive()
	cl := byName(t, p)
	ctx, cancel := context.WithTimeout(context.Background(), 2*testTimeout)
	defer cancel()

	back := sync.OnceFunc(begin(store))
	t.Cleanup(back)
	failures, err := p.Metric("firn_tiering_upload_failures_total")
	if err != nil {
		t.Fatal(err)
	}
	p.Eventually("lag grows and is told with its reason", func() (bool, error) {
		now, err := p.Tiers("kill")
		for i, tr := range now {
			if tr.LagBytes < 256<<10 || tr.Failures == 0 || tr.Error == "" || tr.LagSeconds <= 0 || tr.LocalSegments < 2 {
				return false, fmt.Errorf("partition %d: %+v", i, tr)
			}
		}
		return true, err
	})
	before, err := p.Tiers("kill") // only now: what was stored in the last moment has been committed
	if err != nil {
		t.Fatal(err)
	}
	if now, err := p.Metric("firn_tiering_upload_failures_total"); err != nil || now <= failures {
		t.Errorf("upload failures were %v and are %v, %v", failures, now, err)
	}
	if lag, err := p.Metric("firn_tiering_lag_bytes"); err != nil || lag < 1<<20 {
		t.Errorf("lag is %v bytes, %v", lag, err)
	}
	for part := range int32(2) {
		began := time.Now()
		_, err := rawFetch(ctx, cl, "kill", part, 0, 500*time.Millisecond)
		if !errors.Is(err, kerr.KafkaStorageError) {
			// A read that the driver still tries again is no answer yet; a later one tells.
			p.Eventually("a cold read fails", func() (bool, error) {
				_, err = rawFetch(ctx, cl, "kill", part, 0, 500*time.Millisecond)
				return err != nil, nil
			})
		}
		if !errors.Is(err, kerr.KafkaStorageError) {
			t.Errorf("fetch of what is in the bucket alone: %v, want KAFKA_STORAGE_ERROR", err)
		}
		t.Logf("partition %d: %v after %v", part, err, time.Since(began))
	}
	replayed := make(chan error, 1)
	go func() {
		_, err := r.d.ReadAll(ctx, "replay")
		replayed <- err
	}()
	away, err := p.Tiers("kill")
	if err != nil {
		t.Fatal(err)
	}
	for i, tr := range away {
		if tr.LocalStart > before[i].TieredEnd || tr.TieredEnd > before[i].TieredEnd || tr.LocalStart > tr.TieredEnd {
			t.Errorf("partition %d: tier ended at %d, now %+v: local bytes are gone that are in no bucket", i, before[i].TieredEnd, tr)
		}
	}
	back()
	returned := time.Now()
	p.Eventually("all is archived", func() (bool, error) {
		now, err := p.Tiers("kill")
		for i, tr := range now {
			if tr.Failures > 0 || tr.TieredEnd < away[i].End || tr.LocalStart < away[i].LocalStart+1 {
				return false, fmt.Errorf("partition %d: %+v", i, tr)
			}
		}
		return true, err
	})
	t.Logf("%v after the bucket's return all was archived", time.Since(returned))
	if limit := 45 * time.Second; time.Since(returned) > limit {
		t.Errorf("more than %v", limit)
	}
	if err := <-replayed; err != nil {
		t.Errorf("replay that began while the bucket was away: %v", err)
	}
	r.finish()
}

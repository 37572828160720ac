package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"firn/broker/brokertest/history"
	"firn/metadata"
	"firn/metadata/etcd"
	"firn/metadata/topic"
	"firn/tiering"
	"firn/tiering/manifest"
)

// tierReader reads manifests as somebody would who knows the formats and not the broker: heads from etcd, roots and pages
// from the bucket.
type tierReader struct {
	kv     metadata.KV
	object func(ctx context.Context, key string) ([]byte, error) // what the bucket has under a key
	close  func()
}

// devTier reads what a firn dev keeps in its directory.
func devTier(dir string) (*tierReader, error) {
	short, err := os.MkdirTemp("", "firn") // the name of a socket must be short
	if err != nil {
		return nil, err
	}
	remove := func() { _ = os.RemoveAll(short) }
	if err := os.Symlink(filepath.Join(dir, "etcd"), filepath.Join(short, "etcd")); err != nil {
		remove()
		return nil, err
	}
	kv, err := etcd.Dial(etcd.Config{Endpoints: []string{"unix://" + filepath.Join(short, "etcd", "client.sock")}})
	if err != nil {
		remove()
		return nil, err
	}
	return &tierReader{
		kv: kv,
		object: func(_ context.Context, key string) ([]byte, error) {
			return os.ReadFile(filepath.Join(dir, "tier", key))
		},
		close: func() { _ = kv.Close(); remove() },
	}, nil
}

// observe is what the manifests of a topic name, by partition, and where each is said to end.
func (r *tierReader) observe(ctx context.Context, cl *kgo.Client, name string) (seen history.Op, err error) {
	found, err := kadm.NewClient(cl).Metadata(ctx, name)
	if err != nil || found.Topics[name].Err != nil {
		return seen, errors.Join(err, found.Topics[name].Err)
	}
	keys, err := metadata.NewKeys("firn")
	if err != nil {
		return seen, err
	}
	objects := tiering.Keys{Cluster: found.Cluster}
	for p := range found.Topics[name].Partitions {
		tp := topic.Partition{ID: topic.ID(found.Topics[name].ID), Index: p}
		entries, _, err := r.kv.Get(ctx, keys.TierHead(tp))
		if err != nil {
			return seen, err
		}
		var head manifest.Head
		var segments []manifest.Segment
		if len(entries) > 0 && len(entries[0].Value) > 0 {
			head, err = manifest.DecodeHead(entries[0].Value)
			if err == nil {
				segments, err = r.named(ctx, objects, tp, head)
			}
		}
		if err != nil {
			return seen, fmt.Errorf("manifest of %s-%d: %w", name, p, err)
		}
		for _, s := range segments {
			seen.Spans = append(seen.Spans, history.Span{Key: history.Key(p), Start: s.Base, End: s.Next()})
		}
		seen.Positions = append(seen.Positions, history.Position{Key: history.Key(p), Offset: head.TierEnd})
	}
	seen.Outcome = history.OK
	return seen, nil
}

// named lists the segments that a head names, oldest first.
func (r *tierReader) named(ctx context.Context, objects tiering.Keys, tp topic.Partition, head manifest.Head) (list []manifest.Segment, err error) {
	if !head.Root.IsZero() {
		b, err := r.object(ctx, objects.Root(tp, head.Root))
		if err != nil {
			return nil, err
		}
		root, err := manifest.DecodeRoot(b)
		if err != nil {
			return nil, err
		}
		for _, ref := range root.Pages {
			b, err := r.object(ctx, objects.Page(tp, ref))
			if err != nil {
				return nil, err
			}
			page, err := manifest.DecodePage(b)
			if err != nil {
				return nil, err
			}
			list = append(list, page.Segments...)
		}
		list = append(list, root.Open...)
	}
	return append(list, head.Tail...), nil
}

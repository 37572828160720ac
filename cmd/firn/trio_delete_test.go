package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/brokertest"
	"firn/metadata"
	"firn/metadata/etcd"
	"firn/metadata/topic"
)

// records reads the cluster's metadata from etcd.
func (c *trio) records() (*metadata.Image, error) {
	kv, err := etcd.Dial(etcd.Config{Endpoints: []string{c.Etcd.Endpoint()}})
	if err != nil {
		return nil, err
	}
	defer kv.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	s, err := metadata.Open(ctx, kv, metadata.Options{})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	return s.Image(), nil
}

// copies are the directories of a topic's partitions on a broker's disk.
func copies(t *testing.T, p *brokertest.Process, id topic.ID) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(p.Dir, id.Hex()+"-*"))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// awaitNoCopies waits for the last bytes to go: what is confirmed is that nothing can bring them back.
func awaitNoCopies(t *testing.T, p *brokertest.Process, id topic.ID) {
	t.Helper()
	p.Eventually("the copies are gone", func() (bool, error) {
		left := copies(t, p, id)
		return len(left) == 0, fmt.Errorf("left: %v", left)
	})
}

// A topic is deleted while a broker is down, and made anew under its name: the broker deletes its copies when it is back,
// and only then the record goes; of the new topic it touches nothing. A copy that comes back after the record is gone
// is kept, reported and served to nobody. A broker that has left for good is not waited for.
func TestTopicDeletedWhileABrokerIsDown(t *testing.T) {
	t.Parallel()
	c := startTrio(t, 3)
	ctx := context.Background()
	c.Create("t", 2, nil)
	fill(t, c.Brokers[0], "t", 2, 0, 100)
	im, err := c.records()
	if err != nil {
		t.Fatal(err)
	}
	first, _ := im.Topic("t")
	away := c.Brokers[2]
	away.Kill()
	c.AwaitLeaders("t", 3)
	dirs := copies(t, away, first.ID)
	if len(dirs) != 2 {
		t.Fatalf("copies: %v", dirs)
	}
	stray := filepath.Join(t.TempDir(), filepath.Base(dirs[0]))
	if err := os.CopyFS(stray, os.DirFS(dirs[0])); err != nil {
		t.Fatal(err)
	}

	if _, err := c.Admin.DeleteTopic(ctx, "t"); err != nil {
		t.Fatal(err)
	}
	brokertest.Eventually(t, "two have deleted their copies and said so", func() (bool, error) {
		im, err := c.records()
		if err != nil {
			return false, err
		}
		old, ok := im.TopicByID(first.ID)
		if !ok {
			t.Fatal("the record went while a broker holds copies")
		}
		return len(old.Released) == 2, fmt.Errorf("released by %v", old.Released)
	})
	for _, b := range c.Brokers[:2] {
		awaitNoCopies(t, b, first.ID)
	}
	brokertest.Eventually(t, "it is made anew", func() (bool, error) {
		resp, err := c.Admin.CreateTopic(ctx, 2, 2, nil, "t")
		return err == nil && resp.Err == nil, errors.Join(err, resp.Err)
	})
	fill(t, c.Brokers[0], "t", 2, 0, 200)

	gone := func(id topic.ID) {
		t.Helper()
		brokertest.Eventually(t, "the record goes", func() (bool, error) {
			im, err := c.records()
			if err != nil {
				return false, err
			}
			_, ok := im.TopicByID(id)
			return !ok, nil
		})
	}
	away.Restart()
	gone(first.ID)
	awaitNoCopies(t, away, first.ID)
	if _, err := readAll(t, c.Brokers[0], "t", 1, 200, testTimeout); err != nil {
		t.Error(err)
	}

	away.Stop()
	if err := os.CopyFS(dirs[0], os.DirFS(stray)); err != nil {
		t.Fatal(err)
	}
	away.Restart()
	away.Eventually("the stray copy is reported", func() (bool, error) {
		return strings.Contains(away.Log(), "of a topic that the cluster does not know; it is kept"), nil
	})
	if left := copies(t, away, first.ID); len(left) != 1 {
		t.Errorf("the stray copy is not kept: %v", left)
	}

	away.Kill()
	im, err = c.records()
	if err != nil {
		t.Fatal(err)
	}
	second, _ := im.Topic("t")
	if _, err := c.Admin.DeleteTopic(ctx, "t"); err != nil {
		t.Fatal(err)
	}
	cl, err := kgo.NewClient(c.Seeds())
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	req := kmsg.NewPtrUnregisterBrokerRequest()
	req.BrokerID = 3
	brokertest.Eventually(t, "broker 3 is unregistered", func() (bool, error) {
		resp, err := req.RequestWith(ctx, cl)
		return err == nil && resp.ErrorCode == 0, fmt.Errorf("%v, %w", resp, err)
	})
	gone(second.ID)
}

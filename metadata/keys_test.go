package metadata_test

import (
	"slices"
	"strings"
	"testing"

	"firn/metadata"
	"firn/metadata/topic"
)

func testKeys(tb testing.TB) metadata.Keys {
	tb.Helper()
	k, err := metadata.NewKeys("test")
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

func TestKeysParseAsBuilt(t *testing.T) {
	k := testKeys(t)
	id := topic.NewID()
	tp := topic.Partition{ID: id, Index: 2147483647}
	for _, key := range []string{
		k.Cluster(), k.Controller(), k.Broker(0), k.Node(7), k.TopicName("a.b_c-D"), k.Topic(id), k.Partition(tp),
		k.TierHead(tp), k.ClusterSettings(), k.BrokerSettings(3), k.TopicSettings(id),
		k.ShardOwner(metadata.GroupShard, 255), k.ShardOwner(metadata.TxnShard, 0), k.ShardOwner(metadata.ShareShard, 1),
	} {
		if got, err := metadata.ParseKey(k, key); err != nil || got != key {
			t.Errorf("%s parsed as %q, %v", key, got, err)
		}
		if key >= "/k/test/z/" {
			t.Errorf("%s is outside of the image's range", key)
		}
	}
	if key := k.ProducerIDs(); key < "/k/test/z/" {
		t.Errorf("%s is in the image's range", key)
	}
	for _, key := range []string{
		"/k/test/b/", "/k/test/b/01", "/k/test/b/-1", "/k/test/b/x", "/k/test/n/2147483648", "/k/test/p/short/0",
		"/k/test/p/" + id.String(), "/k/test/p/" + id.String() + "/0/0", "/k/test/t/i/x", "/k/test/cfg/t/x", "/k/test/co/g/x", "/k/other/ctl",
	} {
		if got, err := metadata.ParseKey(k, key); err == nil {
			t.Errorf("%s parsed as %q", key, got)
		}
	}
	for _, key := range []string{"/k/test/q/user", "/k/test/job/x/1", "/k/test/co/future/1", "/k/test/t/future/1", "/k/test/cfg/future"} {
		if got, err := metadata.ParseKey(k, key); err != nil || got != "" {
			t.Errorf("%s of a later version: %q, %v", key, got, err)
		}
	}
	for _, name := range []string{"", "a/b", "a\x00"} {
		if _, err := metadata.NewKeys(name); err == nil {
			t.Errorf("cluster name %q accepted", name)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	k := testKeys(f)
	for _, s := range []string{"b/1", "p/AAAAAAAAAAAAAAAAAAAAAA/0", "co/g/17", "t/n/x", "cfg/t/AAAAAAAAAAAAAAAAAAAAAA", "x//", "/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, rel string) {
		key := "/k/test/" + rel
		got, err := metadata.ParseKey(k, key)
		if err == nil && got != "" && got != key {
			t.Errorf("%q parsed as %q", key, got)
		}
	})
}

func FuzzShardKey(f *testing.F) {
	f.Add("group", "m", "member")
	f.Add("a/b", "%", "\x00\xff")
	f.Add("", "", "")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		parts := []string{a, b, c}
		key := metadata.ShardKey(parts...)
		got, err := metadata.SplitShardKey(key)
		if err != nil || !slices.Equal(got, parts) {
			t.Errorf("%q joined to %q and split to %q, %v", parts, key, got, err)
		}
		if !strings.HasPrefix(key, metadata.ShardKey(a, b)+"/") {
			t.Errorf("%q does not begin with its first two parts", key)
		}
		_, _ = metadata.SplitShardKey(a) // must not panic
	})
}

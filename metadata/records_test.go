package metadata_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"firn/metadata"
	"firn/metadata/topic"
)

// laterField is a field that no record of this version has: number 100, five bytes.
var laterField = []byte{0xa2, 0x06, 5, 'l', 'a', 't', 'e', 'r'}

// sampleEvents holds one record of each kind.
func sampleEvents(k metadata.Keys) []metadata.Event {
	id := topic.ID{1, 2, 3}
	tp := topic.Partition{ID: id, Index: 4}
	ops := []metadata.Op{
		k.PutTopic(&metadata.Topic{ID: id, Name: "t", Partitions: 5, ReplicationFactor: 1}),
		k.PutTopicName("t", id),
		k.PutPartition(&metadata.PartitionState{Partition: tp, Leader: -1, LastKnownLeader: 1, ISR: []int32{}, Replicas: []int32{1, 0}}),
		k.PutSettings(k.TopicSettings(id), metadata.Settings{Values: map[string]string{"a": "b"}}),
		k.PutSettings(k.BrokerSettings(1), metadata.Settings{Values: map[string]string{"a": "b"}}),
		k.PutSettings(k.ClusterSettings(), metadata.Settings{Values: map[string]string{"a": "b"}}),
		k.PutShardOwner(metadata.TxnShard, 3, &metadata.ShardOwner{Broker: -1, Epoch: 3}),
		k.PutNode(&metadata.Node{ID: 1, BootID: "boot", Disks: []metadata.UUID{{1}}, Loss: metadata.LossAll}),
		metadata.Put(k.TierHead(tp), []byte("head")),
	}
	var events []metadata.Event
	for i, op := range ops {
		rev := int64(i + 10)
		events = append(events, metadata.Event{Entry: metadata.Entry{Key: op.Key, Value: op.Value, CreateRev: rev, ModRev: rev}})
	}
	return events
}

func TestRecordsKeepWhatTheyDoNotKnow(t *testing.T) {
	k := testKeys(t)
	events := sampleEvents(k)
	for i := range events {
		if events[i].Key != k.TierHead(topic.Partition{ID: topic.ID{1, 2, 3}, Index: 4}) {
			events[i].Value = append(events[i].Value, laterField...)
		}
	}
	im, err := metadata.Apply(k, events...)
	if err != nil {
		t.Fatal(err)
	}
	id := topic.ID{1, 2, 3}
	tt, _ := im.TopicByID(id)
	p, _ := im.Partition(topic.Partition{ID: id, Index: 4})
	n, _ := im.Node(1)
	owner := im.ShardOwner(metadata.TxnShard, 3)
	tt2, p2, n2 := *tt, *p, *n // as a writer that changes something would copy them
	p2.LeaderEpoch++
	for _, op := range []metadata.Op{
		k.PutTopic(&tt2), k.PutPartition(&p2), k.PutNode(&n2),
		k.PutShardOwner(metadata.TxnShard, 3, &owner),
		k.PutSettings(k.TopicSettings(id), im.TopicSettings(id)),
		k.PutSettings(k.BrokerSettings(1), im.BrokerSettings(1)),
		k.PutSettings(k.ClusterSettings(), im.ClusterSettings()),
	} {
		if !bytes.HasSuffix(op.Value, laterField) {
			t.Errorf("%s written without the field of a later version", op.Key)
		}
	}
	empty := im.TopicSettings(id)
	empty.Values = nil
	if op := k.PutSettings(k.TopicSettings(id), empty); op.Delete {
		t.Error("settings with a field of a later version are deleted when empty")
	}
	if op := k.PutSettings(k.TopicSettings(id), metadata.Settings{}); !op.Delete {
		t.Error("empty settings are not deleted")
	}
}

func TestRecordsRefused(t *testing.T) {
	k := testKeys(t)
	for _, ev := range sampleEvents(k) {
		if strings.Contains(ev.Key, "/x/") {
			continue // not ours to read
		}
		newer := ev
		newer.Value = append([]byte{0x08, 2}, ev.Value[2:]...) // the version is the first field
		none := ev
		none.Value = ev.Value[2:]
		torn := ev
		torn.Value = ev.Value[:len(ev.Value)-1]
		for _, c := range []struct {
			name string
			ev   metadata.Event
			want error
		}{{"newer", newer, metadata.ErrNewerVersion}, {"without version", none, metadata.ErrBadRecord}, {"torn", torn, metadata.ErrBadRecord}} {
			_, err := metadata.Apply(k, c.ev)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), ev.Key) {
				if c.name == "torn" && err == nil {
					continue // some records are whole without their last byte
				}
				t.Errorf("%s %s: %v, want %v naming the key", c.name, ev.Key, err, c.want)
			}
		}
	}
}

func FuzzRecord(f *testing.F) {
	k := testKeys(f)
	for _, ev := range sampleEvents(k) {
		f.Add(ev.Key, ev.Value)
	}
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		im, err := metadata.Apply(k, metadata.Event{Entry: metadata.Entry{Key: key, Value: value, CreateRev: 5, ModRev: 5}})
		if err == nil {
			_ = metadata.Dump(im)
			_ = im.Diff(nil)
		}
	})
}

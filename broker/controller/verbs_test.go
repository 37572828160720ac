package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"firn/broker/brokertest/growthtest"
	"firn/metadata"
	"firn/metadata/memkv"
	"firn/metadata/topic"
)

func one(name string) NewTopic { return NewTopic{Name: name, Partitions: 1, ReplicationFactor: 1} }

func TestCreateTopics(t *testing.T) {
	c := newCluster(t)
	m := c.start(1)
	c.start(2)
	c.start(3)
	m.await("brokers", func(img *metadata.Image) bool { return len(img.Brokers()) == 3 })
	m.create("taken", "with.dots")
	long := strings.Repeat("x", 250)
	for _, v := range []struct {
		name  string
		topic NewTopic
		want  error
	}{
		{"name in use", one("taken"), ErrTopicExists},
		{"name collides", one("with_dots"), ErrTopicNameCollision},
		{"empty name", one(""), topic.ErrName},
		{"long name", one(long), topic.ErrName},
		{"bad name", one("a/b"), topic.ErrName},
		{"no partitions", NewTopic{Name: "a", Partitions: 0, ReplicationFactor: 1}, ErrPartitions},
		{"negative partitions", NewTopic{Name: "a", Partitions: -2, ReplicationFactor: 1}, ErrPartitions},
		{"too many partitions", NewTopic{Name: "a", Partitions: maxPartitions + 1, ReplicationFactor: 1}, ErrPartitions},
		{"no replicas", NewTopic{Name: "a", Partitions: 1, ReplicationFactor: 0}, ErrReplicationFactor},
		{"more replicas than brokers", NewTopic{Name: "a", Partitions: 1, ReplicationFactor: 4}, ErrReplicationFactor},
		{"assignment and partitions", NewTopic{Name: "a", Partitions: 1, ReplicationFactor: -1, Assignment: map[int32][]int32{0: {1}}}, ErrRequest},
		{"assignment and factor", NewTopic{Name: "a", Partitions: -1, ReplicationFactor: 1, Assignment: map[int32][]int32{0: {1}}}, ErrRequest},
		{"assignment with a hole", NewTopic{Name: "a", Partitions: -1, ReplicationFactor: -1, Assignment: map[int32][]int32{0: {1}, 2: {1}}}, ErrAssignment},
		{"assignment to nobody", NewTopic{Name: "a", Partitions: -1, ReplicationFactor: -1, Assignment: map[int32][]int32{0: {}}}, ErrAssignment},
		{"assignment of several factors", NewTopic{Name: "a", Partitions: -1, ReplicationFactor: -1, Assignment: map[int32][]int32{0: {1, 2}, 1: {1}}}, ErrAssignment},
		{"assignment twice to one", NewTopic{Name: "a", Partitions: -1, ReplicationFactor: -1, Assignment: map[int32][]int32{0: {1, 1}}}, ErrAssignment},
		{"assignment to a stranger", NewTopic{Name: "a", Partitions: -1, ReplicationFactor: -1, Assignment: map[int32][]int32{0: {1, 9}}}, ErrAssignment},
		{"setting of no meaning", NewTopic{Name: "a", Partitions: 1, ReplicationFactor: 1, Settings: map[string]string{"no.such": "1"}}, new(topic.Error)},
		{"setting out of range", NewTopic{Name: "a", Partitions: 1, ReplicationFactor: 1, Settings: map[string]string{"retention.ms": "-5"}}, new(topic.Error)},
		{"setting that is too long", NewTopic{Name: "a", Partitions: 1, ReplicationFactor: 1, Settings: map[string]string{
			"leader.replication.throttled.replicas": strings.Repeat("1:1,", maxSettingLen/4) + "10:1",
		}}, ErrConfig},
		{"setting that is no text", NewTopic{Name: "a", Partitions: 1, ReplicationFactor: 1, Settings: map[string]string{"retention.ms": "\xff"}}, ErrConfig},
	} {
		for _, validateOnly := range []bool{true, false} {
			got := m.ctl.CreateTopics(c.ctx, []NewTopic{v.topic}, validateOnly)[0]
			var setting *topic.Error
			if errors.As(v.want, &setting) {
				if !errors.As(got.Err, &setting) {
					t.Errorf("%s: %v, want a topic.Error", v.name, got.Err)
				}
			} else if !errors.Is(got.Err, v.want) {
				t.Errorf("%s: %v, want %v", v.name, got.Err, v.want)
			}
			if got.Topic.Name != "" {
				t.Errorf("%s: failed and made %+v", v.name, got.Topic)
			}
		}
	}
	if n := m.store.Image().NumTopics(); n != 2 {
		t.Errorf("%d topics", n)
	}

	list := []NewTopic{
		{Name: "three", Partitions: 3, ReplicationFactor: 3, Settings: map[string]string{"retention.ms": "1000"}},
		one("three"), // named twice
		{Name: "manual", Partitions: -1, ReplicationFactor: -1, Assignment: map[int32][]int32{0: {3, 1}, 1: {2, 3}}},
		{Name: "default", Partitions: -1, ReplicationFactor: -1},
		{Name: "large", Partitions: maxPartitions, ReplicationFactor: 3},
	}
	for _, got := range m.ctl.CreateTopics(c.ctx, list, true) {
		if got.Err == nil && (!got.Topic.ID.IsZero() || got.Topic.Partitions == 0) {
			t.Errorf("validated only: %+v", got.Topic)
		}
	}
	if n := m.store.Image().NumTopics(); n != 2 {
		t.Errorf("%d topics after validating only", n)
	}
	got := m.ctl.CreateTopics(c.ctx, list, false)
	img := m.store.Image()
	for i, g := range got {
		if i == 1 {
			if !errors.Is(g.Err, ErrTopicExists) {
				t.Errorf("named twice: %v", g.Err)
			}
			continue
		}
		if g.Err != nil {
			t.Fatal(g.Err)
		}
		if found, ok := img.Topic(list[i].Name); !ok || found.ID != g.Topic.ID || g.Topic.Rev != found.Rev {
			t.Errorf("%s: made %+v, the image has %+v", list[i].Name, g.Topic, found)
		}
		for n := range g.Topic.Partitions {
			p, ok := img.Partition(topic.Partition{ID: g.Topic.ID, Index: n})
			if !ok || p.Leader != p.Replicas[0] || len(p.ISR) != int(g.Topic.ReplicationFactor) {
				t.Fatalf("%s/%d: %+v", list[i].Name, n, p)
			}
		}
	}
	if v := img.TopicOverrides(got[0].Topic.ID); !maps.Equal(v, list[0].Settings) {
		t.Errorf("settings %v", v)
	}
	if p, _ := img.Partition(topic.Partition{ID: got[2].Topic.ID, Index: 1}); fmt.Sprint(p.Replicas) != "[2 3]" {
		t.Errorf("manual: %+v", p)
	}
	if got[3].Topic.Partitions != 1 || got[3].Topic.ReplicationFactor != 1 {
		t.Errorf("default: %+v", got[3].Topic)
	}
}

func TestReplicaOnADeadBroker(t *testing.T) {
	c := newCluster(t)
	a := c.start(1)
	b := c.start(2)
	a.await("brokers", func(img *metadata.Image) bool { return len(img.Brokers()) == 2 })
	b.crash()
	a.await("death", func(img *metadata.Image) bool { return len(img.Brokers()) == 1 })
	manual := func(name string, replicas ...int32) CreatedTopic {
		return a.ctl.CreateTopics(c.ctx, []NewTopic{{Name: name, Partitions: -1, ReplicationFactor: -1, Assignment: map[int32][]int32{0: replicas}}}, false)[0]
	}
	got := manual("t", 2, 1)
	if got.Err != nil {
		t.Fatal(got.Err)
	}
	if p, _ := a.store.Image().Partition(topic.Partition{ID: got.Topic.ID}); p.Leader != 1 || fmt.Sprint(p.ISR) != "[1]" {
		t.Errorf("%+v", p)
	}
	if got := manual("u", 2); !errors.Is(got.Err, ErrAssignment) {
		t.Errorf("all replicas dead: %v", got.Err)
	}
}

func TestDeleteTopics(t *testing.T) {
	c := newCluster(t)
	m := c.start(1)
	m.create("a", "b")
	a, _ := m.store.Image().Topic("a")
	b, _ := m.store.Image().Topic("b")
	errs := m.ctl.DeleteTopics(c.ctx, []topic.ID{a.ID, topic.NewID(), a.ID})
	if errs[0] != nil || !errors.Is(errs[1], ErrUnknownTopicID) || !errors.Is(errs[2], ErrUnknownTopicID) {
		t.Error(errs)
	}
	img := m.store.Image()
	if _, ok := img.Topic("a"); ok {
		t.Error("still there by name")
	}
	if dead, ok := img.TopicByID(a.ID); !ok || dead.Live() {
		t.Errorf("%+v", dead)
	}
	m.create("a") // the name is free at once, the id is another
	if again, _ := m.store.Image().Topic("a"); again.ID == a.ID {
		t.Error("the same id for another topic")
	}
	if errs := m.ctl.DeleteTopics(c.ctx, []topic.ID{a.ID}); !errors.Is(errs[0], ErrUnknownTopicID) {
		t.Errorf("delete again: %v", errs)
	}
	if _, ok := m.store.Image().TopicByID(b.ID); !ok {
		t.Error("another topic is gone")
	}
}

func TestCreatePartitions(t *testing.T) {
	c := newCluster(t)
	m := c.start(1)
	c.start(2)
	m.await("brokers", func(img *metadata.Image) bool { return len(img.Brokers()) == 2 })
	m.ctl.CreateTopics(c.ctx, []NewTopic{{Name: "t", Partitions: 2, ReplicationFactor: 2}}, false)
	for _, v := range []struct {
		name string
		more MorePartitions
		want error
	}{
		{"unknown topic", MorePartitions{Name: "u", Total: 3}, ErrUnknownTopic},
		{"as many", MorePartitions{Name: "t", Total: 2}, ErrPartitions},
		{"fewer", MorePartitions{Name: "t", Total: 1}, ErrPartitions},
		{"too many", MorePartitions{Name: "t", Total: 3 + maxPartitions}, ErrPartitions},
		{"assignment too short", MorePartitions{Name: "t", Total: 4, Assignment: [][]int32{{1, 2}}}, ErrAssignment},
		{"assignment of another factor", MorePartitions{Name: "t", Total: 3, Assignment: [][]int32{{1}}}, ErrAssignment},
		{"fine", MorePartitions{Name: "t", Total: 3, Assignment: [][]int32{{2, 1}}}, nil},
	} {
		if errs := m.ctl.CreatePartitions(c.ctx, []MorePartitions{v.more}, true); !errors.Is(errs[0], v.want) {
			t.Errorf("%s: %v, want %v", v.name, errs[0], v.want)
		}
	}
	errs := m.ctl.CreatePartitions(c.ctx, []MorePartitions{{Name: "t", Total: 3, Assignment: [][]int32{{2, 1}}}, {Name: "t", Total: 4}}, false)
	if errs[0] != nil || !errors.Is(errs[1], ErrRequest) {
		t.Error(errs)
	}
	errs = m.ctl.CreatePartitions(c.ctx, []MorePartitions{{Name: "t", Total: 600}}, false)
	if errs[0] != nil {
		t.Error(errs)
	}
	img := m.store.Image()
	tt, _ := img.Topic("t")
	leaders := map[int32]int{}
	for i := range tt.Partitions {
		p, ok := img.Partition(topic.Partition{ID: tt.ID, Index: i})
		if !ok || len(p.Replicas) != 2 {
			t.Fatalf("partition %d: %+v", i, p)
		}
		leaders[p.Leader]++
	}
	if tt.Partitions != 600 || leaders[1]-leaders[2] > 3 || leaders[2]-leaders[1] > 3 {
		t.Errorf("%d partitions, leaders %v", tt.Partitions, leaders)
	}
}

func TestAlterSettings(t *testing.T) {
	c := newCluster(t)
	badBroker := errors.New("no such setting")
	m := c.start(1, func(_ *metadata.Registration, o *Options) {
		o.CheckBrokerSettings = func(id int32, values map[string]string) error {
			if _, ok := values["bad"]; ok {
				return badBroker
			}
			return nil
		}
		o.BrokerList = func(name string) (string, bool) { return "x,y", name == "list" }
	})
	m.create("t", "u")
	set := func(name, value string) SettingChange { return SettingChange{Name: name, Value: value} }
	op := func(o SettingOp, name, value string) SettingChange {
		return SettingChange{Name: name, Op: o, Value: value}
	}
	alter := func(a AlterSettings) error { return m.ctl.AlterSettings(c.ctx, []AlterSettings{a}, false)[0] }
	tt, _ := m.store.Image().Topic("t")
	steps := []struct {
		name  string
		alter AlterSettings
		want  any // an error, or nil and then what the overrides are
		after map[string]string
	}{
		{"unknown topic", AlterSettings{Topic: "x", Changes: []SettingChange{set("retention.ms", "1")}}, ErrUnknownTopic, nil},
		{
			"set",
			AlterSettings{Topic: "t", Changes: []SettingChange{set("retention.ms", "1000"), set("segment.bytes", "2000000")}},
			nil,
			map[string]string{"retention.ms": "1000", "segment.bytes": "2000000"},
		},
		{
			"delete, and what is not there",
			AlterSettings{Topic: "t", Changes: []SettingChange{op(SettingDelete, "retention.ms", ""), op(SettingDelete, "retention.bytes", "")}},
			nil,
			map[string]string{"segment.bytes": "2000000"},
		},
		{
			"append to a default",
			AlterSettings{Topic: "t", Changes: []SettingChange{op(SettingAppend, "cleanup.policy", "compact")}},
			nil,
			map[string]string{"segment.bytes": "2000000", "cleanup.policy": "delete,compact"},
		},
		{
			"append what is there",
			AlterSettings{Topic: "t", Changes: []SettingChange{op(SettingAppend, "cleanup.policy", "compact, delete")}},
			nil,
			map[string]string{"segment.bytes": "2000000", "cleanup.policy": "delete,compact"},
		},
		{
			"subtract",
			AlterSettings{Topic: "t", Changes: []SettingChange{op(SettingSubtract, "cleanup.policy", "delete")}},
			nil,
			map[string]string{"segment.bytes": "2000000", "cleanup.policy": "compact"},
		},
		{"append to no list", AlterSettings{Topic: "t", Changes: []SettingChange{op(SettingAppend, "retention.ms", "1")}}, ErrConfig, nil},
		{"unknown operation", AlterSettings{Topic: "t", Changes: []SettingChange{op(9, "retention.ms", "1")}}, ErrRequest, nil},
		{"one setting twice", AlterSettings{Topic: "t", Changes: []SettingChange{set("retention.ms", "1"), op(SettingDelete, "retention.ms", "")}}, ErrRequest, nil},
		{
			"bad value leaves all",
			AlterSettings{Topic: "t", Changes: []SettingChange{set("retention.ms", "5"), set("segment.bytes", "none")}},
			new(topic.Error),
			map[string]string{"segment.bytes": "2000000", "cleanup.policy": "compact"},
		},
		{"replace", AlterSettings{Topic: "t", Replace: true, Changes: []SettingChange{set("retention.ms", "7")}}, nil, map[string]string{"retention.ms": "7"}},
		{"append in a replacement", AlterSettings{Topic: "t", Replace: true, Changes: []SettingChange{op(SettingAppend, "cleanup.policy", "compact")}}, ErrRequest, nil},
		{"replace by nothing", AlterSettings{Topic: "t", Replace: true}, nil, map[string]string{}},
	}
	for _, s := range steps {
		err := alter(s.alter)
		var setting *topic.Error
		switch want := s.want.(type) {
		case *topic.Error:
			if !errors.As(err, &setting) {
				t.Errorf("%s: %v", s.name, err)
			}
		case error:
			if !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", s.name, err, want)
			}
		default:
			if err != nil {
				t.Errorf("%s: %v", s.name, err)
			}
		}
		if got := m.store.Image().TopicOverrides(tt.ID); s.after != nil && !maps.Equal(got, s.after) {
			t.Errorf("%s: overrides %v, want %v", s.name, got, s.after)
		}
	}

	if err := alter(AlterSettings{Broker: 1, Changes: []SettingChange{op(SettingAppend, "list", "z")}}); err != nil {
		t.Error(err)
	}
	if err := alter(AlterSettings{Broker: -1, Changes: []SettingChange{set("k", "v")}}); err != nil {
		t.Error(err)
	}
	if err := alter(AlterSettings{Broker: 1, Changes: []SettingChange{set("bad", "v")}}); !errors.Is(err, badBroker) || !errors.Is(err, ErrConfig) {
		t.Error(err)
	}
	img := m.store.Image()
	if v := img.BrokerOverrides(1)["list"]; v != "x,y,z" || img.ClusterOverrides()["k"] != "v" {
		t.Errorf("broker %v, cluster %v", img.BrokerOverrides(1), img.ClusterOverrides())
	}
	errs := m.ctl.AlterSettings(c.ctx, []AlterSettings{
		{Topic: "u", Changes: []SettingChange{set("retention.ms", "9")}}, {Topic: "u", Changes: []SettingChange{set("retention.ms", "8")}},
	}, false)
	if errs[0] != nil || !errors.Is(errs[1], ErrRequest) {
		t.Errorf("one topic twice: %v", errs)
	}
	rev := m.store.Image().Rev()
	if errs := m.ctl.AlterSettings(c.ctx, []AlterSettings{{Topic: "u", Changes: []SettingChange{set("retention.ms", "10")}}}, true); errs[0] != nil || m.store.Image().Rev() != rev {
		t.Errorf("validate only: %v", errs)
	}
}

// A change that changes nothing writes nothing, so there is no revision of it to wait for; the newest revision may be
// one that no image ever comes to, as offset commits make them.
func TestSettingsThatStayAreNotWaitedFor(t *testing.T) {
	c := newCluster(t)
	m := c.start(1, func(_ *metadata.Registration, o *Options) {
		o.CheckBrokerSettings = func(int32, map[string]string) error { return nil }
	})
	m.create("t")
	m.await("shards", allShardsOwned)
	kv := c.server.Dial()
	defer kv.Close()
	if _, err := kv.Txn(c.ctx, metadata.Txn{Then: []metadata.Op{metadata.Put("/k/firn/z/g/0/x", nil)}}); err != nil {
		t.Fatal(err)
	}
	gone := []SettingChange{{Name: "retention.ms", Op: SettingDelete}}
	ctx, cancel := context.WithTimeout(c.ctx, verbTimeout/3)
	defer cancel()
	errs := m.ctl.AlterSettings(ctx, []AlterSettings{
		{Topic: "t", Changes: gone}, {Broker: 1, Changes: gone}, {Broker: -1, Changes: gone}, {Broker: 2, Replace: true},
	}, false)
	for i, err := range errs {
		if err != nil {
			t.Errorf("change %d: %v", i, err)
		}
	}
	if ctx.Err() != nil {
		t.Error("the controller waited for what was not written")
	}
}

// While a broker restarts topics can be made with as many replicas as ever, and grow: it copies what it has of them when it is back.
func TestTopicsAreMadeWhileABrokerIsAway(t *testing.T) {
	c := newCluster(t)
	a, _, d := c.three()
	d.crash()
	a.await("its end", func(img *metadata.Image) bool { return len(img.Brokers()) == 2 })
	if got := a.ctl.CreateTopics(c.ctx, []NewTopic{{Name: "t", Partitions: 4, ReplicationFactor: 3}}, false)[0]; got.Err != nil {
		t.Fatal(got.Err)
	}
	if err := a.ctl.CreatePartitions(c.ctx, []MorePartitions{{Name: "t", Total: 6}}, false)[0]; err != nil {
		t.Fatal(err)
	}
	led := map[int32]int{}
	for p := range a.store.Image().Partitions() {
		led[p.Leader]++
		if len(p.Replicas) != 3 || p.Leader != p.Replicas[0] || p.Replicas[2] != 3 || len(p.ISR) != 2 || slices.Contains(p.ISR, 3) {
			t.Errorf("%s", show(p))
		}
	}
	if led[1] != 3 || led[2] != 3 {
		t.Errorf("leaders: %v", led)
	}
	got := a.ctl.CreateTopics(c.ctx, []NewTopic{{Name: "wide", Partitions: 1, ReplicationFactor: 4}, {Name: "narrow", Partitions: 9, ReplicationFactor: 2}}, false)
	if !errors.Is(got[0].Err, ErrReplicationFactor) || !strings.Contains(got[0].Err.Error(), "4, with 3 brokers") {
		t.Errorf("with more replicas than brokers: %v", got[0].Err)
	}
	for p := range a.store.Image().Partitions() {
		if p.Partition.ID == got[1].Topic.ID && len(p.ISR) != 2 {
			t.Errorf("a replica on a broker that is away, though others are enough: %s", show(p))
		}
	}
}

// Replicas that are away when a topic is made, or grows, may lead it later as long as they lack nothing: while fewer than
// min.insync.replicas are in sync from the beginning, nothing is committed. Otherwise a partition that began with one replica
// alone would have no leader ever again once the disk of that one is lost.
func TestReplicasThatWereAwayFromTheBeginningMayLead(t *testing.T) {
	c := newCluster(t)
	a, b, d := c.three()
	b.crash()
	d.crash()
	a.await("their end", func(img *metadata.Image) bool { return len(img.Brokers()) == 1 })
	make := func(name, minInsync string) topic.ID {
		t.Helper()
		topics := []NewTopic{{Name: name, Partitions: 1, ReplicationFactor: 3, Settings: map[string]string{"min.insync.replicas": minInsync}}}
		got := a.ctl.CreateTopics(c.ctx, topics, false)[0]
		if got.Err != nil {
			t.Fatal(got.Err)
		}
		if err := a.ctl.CreatePartitions(c.ctx, []MorePartitions{{Name: name, Total: 2}}, false)[0]; err != nil {
			t.Fatal(err)
		}
		return got.Topic.ID
	}
	two, one := make("two", "2"), make("one", "1")
	for i := range int32(2) {
		if p := a.partition(topic.Partition{ID: two, Index: i}); p.Leader != 1 || !slices.Equal(p.ISR, ids{1}) || !slices.Equal(slices.Sorted(slices.Values(p.ELR)), ids{2, 3}) {
			t.Errorf("where two have to be in sync: %s", show(p))
		}
		if p := a.partition(topic.Partition{ID: one, Index: i}); p.Leader != 1 || !slices.Equal(p.ISR, ids{1}) || len(p.ELR) > 0 {
			t.Errorf("where one is enough, so that the others may lack something: %s", show(p))
		}
	}

	a.crash()
	b = c.start(2)
	c.start(1, func(r *metadata.Registration, _ *Options) { r.Disks[0] = metadata.DiskFacts{ID: disk(9)} })
	b.await("a leader", func(img *metadata.Image) bool {
		p, ok := img.Partition(topic.Partition{ID: two, Index: 1})
		return ok && p.Leader == 2 && slices.Equal(p.ISR, ids{2}) && slices.Equal(p.ELR, ids{3})
	})
	b.await("no leader", func(img *metadata.Image) bool {
		p, ok := img.Partition(topic.Partition{ID: one})
		return ok && p.Leader < 0 && len(p.ISR) == 0
	})
}

// What is refused of each of many partitions does not say over and over what the request says once: a name as long as a
// frame allows, times as many partitions, would not fit into any memory.
func TestRefusalsOfManyPartitionsAreShort(t *testing.T) {
	c := newCluster(t)
	a, _, _ := c.three()
	long := strings.Repeat("n", topic.MaxNameLen)
	a.place(long, 1, 2)
	const n = 100
	for _, name := range []string{strings.Repeat("\x00", 1<<20), long} {
		var elect []Election
		var move []Reassignment
		for i := range n {
			elect = append(elect, Election{Topic: name, Partition: int32(i / (n / 2))})
			move = append(move, Reassignment{Topic: name, Partition: int32(i / (n / 2)), Replicas: ids{2, 1}})
		}
		for verb, errs := range map[string][]error{"elect": a.ctl.Elect(c.ctx, elect), "reassign": a.ctl.Reassign(c.ctx, move)} {
			size := 0
			for i, err := range errs {
				if err == nil && i > 0 || i == n-1 && !errors.Is(err, ErrUnknownTopic) {
					t.Errorf("%s %d of %.10q: %v", verb, i, name, err)
				}
				if i > 0 {
					size += len(err.Error())
				}
			}
			if size > n*100 {
				t.Errorf("%s of %.10q: %d bytes", verb, name, size)
			}
		}
	}
}

// A list takes time as it is long, not as its square: elections wait behind whoever adds to it.
func TestLongListsAreEditedQuickly(t *testing.T) {
	growthtest.Subquadratic(t, 25_000, func(n int) func() {
		var items, half []string
		for i := range n {
			items = append(items, strconv.Itoa(i))
			if i%2 == 0 {
				half = append(half, strconv.Itoa(i))
			}
		}
		return func() {
			all := editList(strings.Join(half, ","), strings.Join(items, ","), true)
			left := editList(all, strings.Join(half, ","), false)
			if got := splitList(all); len(got) != n || got[0] != "0" || got[1] != "2" || got[n-1] != strconv.Itoa(n-1) {
				t.Errorf("%d items", len(got))
			}
			if got := splitList(left); len(got) != n/2 || got[0] != "1" || got[n/2-1] != strconv.Itoa(n-1) {
				t.Errorf("%d items are left", len(got))
			}
		}
	})
}

// loseAnswer has m not hear that it has made a topic. Before it tries again others do something.
func (m *member) loseAnswer(topic string, others func(kv metadata.KV)) {
	var writes int
	m.kv.SetFaults(func(call memkv.Call) memkv.Fault {
		if !call.Write || !slices.Contains(call.Keys, m.store.Keys().TopicName(topic)) {
			return memkv.Fault{}
		}
		if writes++; writes == 1 {
			return memkv.Fault{LoseReply: true}
		}
		m.kv.SetFaults(nil)
		kv := m.c.server.Dial()
		defer func() { _ = kv.Close() }()
		others(kv)
		return memkv.Fault{}
	})
}

// A topic whose making was not heard of is there, whatever has become of its partitions before that was found out, and also if the
// controllership is lost by then.
func TestTopicThatHasChangedBeforeItIsKnownToBeThere(t *testing.T) {
	for _, deposed := range []bool{false, true} {
		c := newCluster(t)
		m := c.start(1)
		m.loseAnswer("t", func(kv metadata.KV) {
			img := m.await("the topic", func(img *metadata.Image) bool { _, ok := img.Topic("t"); return ok })
			made, _ := img.Topic("t")
			p, _ := img.Partition(topic.Partition{ID: made.ID})
			next := *p
			next.LeaderEpoch++
			ops := []metadata.Op{m.store.Keys().PutPartition(&next)}
			if deposed {
				ops = append(ops, metadata.Delete(m.store.Keys().Controller()))
			}
			if _, err := kv.Txn(c.ctx, metadata.Txn{Then: ops}); err != nil {
				t.Error(err)
			}
		})
		if got := m.ctl.CreateTopics(c.ctx, []NewTopic{one("t")}, false)[0]; got.Err != nil || got.Topic.ID.IsZero() {
			t.Errorf("deposed %v: %+v", deposed, got)
		}
		if !deposed {
			if got := m.ctl.CreateTopics(c.ctx, []NewTopic{one("t")}, false)[0]; !errors.Is(got.Err, ErrTopicExists) {
				t.Errorf("once more: %v", got.Err)
			}
		}
	}
}

// A change whose answer was lost may have happened, whatever another controller has made of it before that was found out: nobody is told to
// ask again.
func TestChangeThatTheNextControllerMayHaveUndone(t *testing.T) {
	c := newCluster(t)
	m := c.start(1)
	m.loseAnswer("t", func(kv metadata.KV) {
		name := m.store.Keys().TopicName("t")
		if e, _, err := kv.Get(c.ctx, name); err != nil || len(e) != 1 {
			t.Errorf("the change has not happened: %v, %v", e, err)
		}
		if _, err := kv.Txn(c.ctx, metadata.Txn{Then: []metadata.Op{metadata.Delete(name), metadata.Delete(m.store.Keys().Controller())}}); err != nil {
			t.Error(err)
		}
	})
	if got := m.ctl.CreateTopics(c.ctx, []NewTopic{one("t")}, false)[0]; !errors.Is(got.Err, metadata.ErrUnknown) {
		t.Errorf("%v", got.Err)
	}
}

package controller

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"firn/metadata"
	"firn/metadata/memkv"
	"firn/metadata/topic"
)

// deed is a verb of a scenario, and how to see that it happened.
type deed struct {
	name string
	do   func(m *member) error
	done func(img *metadata.Image) bool
}

func deeds() []deed {
	create := func(t NewTopic) deed {
		return deed{
			"create " + t.Name,
			func(m *member) error { return m.ctl.CreateTopics(m.c.ctx, []NewTopic{t}, false)[0].Err },
			func(img *metadata.Image) bool {
				for found := range img.Topics() {
					if found.Name == t.Name {
						return true
					}
				}
				return false
			},
		}
	}
	return []deed{
		create(one("a")), create(one("b")),
		create(NewTopic{Name: "big", Partitions: 100, ReplicationFactor: 1, Settings: map[string]string{"retention.ms": "1"}}),
		{
			"grow a",
			func(m *member) error {
				return m.ctl.CreatePartitions(m.c.ctx, []MorePartitions{{Name: "a", Total: 3}}, false)[0]
			},
			func(img *metadata.Image) bool { t, ok := img.Topic("a"); return ok && t.Partitions == 3 },
		},
		{
			"configure a",
			func(m *member) error {
				return m.ctl.AlterSettings(m.c.ctx, []AlterSettings{{Topic: "a", Changes: []SettingChange{{Name: "retention.ms", Value: "5"}}}}, false)[0]
			},
			func(img *metadata.Image) bool {
				t, ok := img.Topic("a")
				return ok && img.TopicOverrides(t.ID)["retention.ms"] == "5"
			},
		},
		{
			"delete b",
			func(m *member) error {
				t, ok := m.store.Image().Topic("b")
				if !ok {
					return ErrUnknownTopic
				}
				return m.ctl.DeleteTopics(m.c.ctx, []topic.ID{t.ID})[0]
			},
			func(img *metadata.Image) bool {
				for t := range img.Topics() {
					if t.Name == "b" {
						return !t.Live()
					}
				}
				return false
			},
		},
	}
}

// TestCrashAtEachStep runs a scenario and disturbs its n-th write, for every n: the controller is cut off from
// then on, or the request or its reply is lost, or it arrives late. Then another controller takes over. What
// was reported done is there, what was reported as refused is not and never will be, and nothing is half done.
func TestCrashAtEachStep(t *testing.T) {
	faults := []struct {
		name  string
		fault memkv.Fault
		stays bool // for all later calls, too
	}{
		{"cut off", memkv.Fault{Refuse: true}, true},
		{"reply lost, then cut off", memkv.Fault{LoseReply: true}, true},
		{"reply lost", memkv.Fault{LoseReply: true}, false},
		{"request lost", memkv.Fault{LoseRequest: true}, false},
		{"late", memkv.Fault{Late: 50 * time.Millisecond}, false},
		{"very late", memkv.Fault{Late: 40 * time.Second}, false},
	}
	for _, f := range faults {
		for n := 1; ; n++ {
			reached := true
			t.Run(fmt.Sprintf("%s at write %d", f.name, n), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { reached = crashAt(t, n, f.fault, f.stays) })
			})
			if !reached || t.Failed() {
				break
			}
		}
	}
}

func crashAt(t *testing.T, n int, fault memkv.Fault, stays bool) (reached bool) {
	c := newCluster(t)
	c.ctx = t.Context()
	var mu sync.Mutex
	writes := 0
	disturb := func(call memkv.Call) memkv.Fault {
		mu.Lock()
		defer mu.Unlock()
		if call.Write {
			writes++
		}
		switch {
		case writes < n || writes == n && !call.Write:
			return memkv.Fault{}
		case writes == n:
			return fault
		case stays:
			return memkv.Fault{Refuse: true}
		}
		return memkv.Fault{}
	}
	c.faults = disturb
	m := c.start(1)
	outcome := make([]error, len(deeds()))
	for i, d := range deeds() {
		outcome[i] = d.do(m)
	}
	m.kv.SetFaults(nil)
	m.crash()

	c.faults = nil
	m = c.start(1)
	time.Sleep(5 * time.Minute) // for what is late
	img := m.await("leaders and shards", func(img *metadata.Image) bool { return allLed(img) && allShardsOwned(img) })
	for i, d := range deeds() {
		happened := d.done(img)
		switch err := outcome[i]; {
		case err == nil && !happened:
			t.Errorf("%s was done and is undone", d.name)
		case err != nil && !errors.Is(err, metadata.ErrUnknown) && happened && !errors.Is(err, ErrUnknownTopic):
			t.Errorf("%s was refused (%v) and happened", d.name, err)
		}
	}
	checkWhole(t, img, c)
	m.stop()
	mu.Lock()
	defer mu.Unlock()
	return writes >= n
}

// checkWhole looks for anything half done.
func checkWhole(t *testing.T, img *metadata.Image, c *cluster) {
	t.Helper()
	names, partitions := 0, 0
	for tt := range img.Topics() {
		partitions += int(tt.Partitions)
		if tt.Live() {
			names++
			if byName, ok := img.Topic(tt.Name); !ok || byName.ID != tt.ID {
				t.Errorf("live topic %s is not found by its name", tt.Name)
			}
			for i := range tt.Partitions {
				if _, ok := img.Partition(topic.Partition{ID: tt.ID, Index: i}); !ok {
					t.Errorf("%s has no partition %d", tt.Name, i)
				}
			}
		}
	}
	if names != img.NumTopics() {
		t.Errorf("%d names for %d live topics", img.NumTopics(), names)
	}
	kv := c.server.Dial()
	defer kv.Close()
	page, err := kv.Range(c.ctx, "/k/firn/p/", "/k/firn/p0", 0, 1000)
	if err != nil || len(page.Entries) != partitions {
		t.Errorf("%d partition records for %d partitions, %v", len(page.Entries), partitions, err)
	}
}

// TestDeposedControllerDoesNoHarm cuts a controller off without its knowing, lets another take over, and joins
// them again: what the old one then tries fails.
func TestDeposedControllerDoesNoHarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.ctx = t.Context()
		old := c.start(1)
		old.create("t")
		other := c.start(2)
		synctest.Wait()
		// The old one hears nothing any more, but its writes arrive.
		old.kv.SetFaults(func(call memkv.Call) memkv.Fault {
			return memkv.Fault{Refuse: !call.Write}
		})
		c.expire(old)
		other.await("takeover", func(img *metadata.Image) bool { return img.Controller().ID == 2 })
		var got error
		for range 3 {
			got = old.ctl.CreateTopics(c.ctx, []NewTopic{one("zombie")}, false)[0].Err
		}
		if !errors.Is(got, ErrNotController) && !errors.Is(got, metadata.ErrUnavailable) {
			t.Errorf("a deposed controller: %v", got)
		}
		synctest.Wait()
		if _, ok := other.store.Image().Topic("zombie"); ok {
			t.Error("a deposed controller made a topic")
		}
		old.stop()
		other.stop()
	})
}

// TestControllerHealsAfterAnOutage cuts everything off for a minute.
func TestControllerHealsAfterAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.ctx = t.Context()
		m := c.start(1)
		m.create("t")
		m.kv.Cut(true)
		if got := m.ctl.CreateTopics(c.ctx, []NewTopic{one("u")}, false)[0].Err; !errors.Is(got, metadata.ErrUnavailable) {
			t.Errorf("while cut off: %v", got)
		}
		time.Sleep(time.Minute)
		m.kv.Cut(false)
		start := time.Now()
		m.create("u")
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("healed after %v", took)
		}
		m.stop()
	})
}

// TestLossesAreActedOn restarts the only broker with what its disk may have lost.
func TestLossesAreActedOn(t *testing.T) {
	relaxed := NewTopic{Name: "relaxed", Partitions: 1, ReplicationFactor: 1, Settings: map[string]string{"flush.messages": "1000"}}
	for _, v := range []struct {
		name          string
		boot          string
		disk          metadata.DiskFacts // epoch -1: as it was left
		durable, lazy bool               // led again
	}{
		{"killed", "boot", metadata.DiskFacts{ID: disk(1), Epoch: -1}, true, true},
		{"power cut", "other", metadata.DiskFacts{ID: disk(1), Epoch: -1}, true, true},
		{"new disk", "boot", metadata.DiskFacts{ID: disk(7)}, false, false},
		{"old copy of the disk", "boot", metadata.DiskFacts{ID: disk(1), Epoch: 1}, false, false},
	} {
		t.Run(v.name, func(t *testing.T) {
			c := newCluster(t)
			m := c.start(1)
			m.create("durable")
			m.ctl.CreateTopics(c.ctx, []NewTopic{relaxed}, false)
			m.crash()
			m = c.start(1, func(r *metadata.Registration, _ *Options) {
				if v.disk.Epoch < 0 {
					v.disk.Epoch = r.Disks[0].Epoch
				}
				r.BootID, r.Disks = v.boot, []metadata.DiskFacts{v.disk}
			})
			img := m.await("the loss to be acted on", func(img *metadata.Image) bool {
				n, ok := img.Node(1)
				ctl := img.Controller()
				if !ok || n.Loss != metadata.LossNone || ctl.ID != 1 || ctl.BrokerEpoch != m.lease.Epoch() {
					return false
				}
				for p := range img.Partitions() {
					if p.Leader == 1 && p.LeaderBrokerEpoch != m.lease.Epoch() {
						return false
					}
				}
				return true
			})
			for name, want := range map[string]bool{"durable": v.durable, "relaxed": v.lazy} {
				tt, _ := img.Topic(name)
				p, _ := img.Partition(topic.Partition{ID: tt.ID})
				if got := p.Leader == 1; got != want || p.LeaderEpoch != 1 || want != (len(p.ISR) == 1) {
					t.Errorf("%s: %+v, want led again: %v", name, p, want)
				}
			}
		})
	}
}

// The last known leader that comes back with a new disk is not elected, also when its loss has been acted on.
func TestNewDiskOfTheLastKnownLeader(t *testing.T) {
	c := newCluster(t)
	a, b := c.start(1), c.start(2)
	tp := topic.Partition{ID: a.ctl.CreateTopics(c.ctx, []NewTopic{{
		Name: "t", Partitions: -1, ReplicationFactor: -1, Assignment: map[int32][]int32{0: {2}}, Settings: map[string]string{"flush.messages": "1000"},
	}}, false)[0].Topic.ID}
	b.crash()
	a.await("no leader", func(img *metadata.Image) bool { p, _ := img.Partition(tp); return p.Leader < 0 })
	// It has come back after a power cut, and gone before anybody could elect it.
	n, _ := a.store.Image().Node(2)
	next := *n
	next.Loss = metadata.LossRelaxed
	if _, err := a.kv.Txn(c.ctx, metadata.Txn{Then: []metadata.Op{a.store.Keys().PutNode(&next)}}); err != nil {
		t.Fatal(err)
	}
	handled := func(img *metadata.Image) bool { n, _ := img.Node(2); return n.Loss == metadata.LossNone }
	a.await("the power cut to be acted on", func(img *metadata.Image) bool {
		p, _ := img.Partition(tp)
		return handled(img) && p.LastKnownLeader == 2
	})
	c.start(2, func(r *metadata.Registration, _ *Options) { r.Disks = []metadata.DiskFacts{{ID: disk(7)}} })
	a.await("the new disk to be acted on", func(img *metadata.Image) bool { _, alive := img.Broker(2); return alive && handled(img) })
	if err := a.ctl.Elect(c.ctx, []Election{{Topic: "t"}})[0]; !errors.Is(err, ErrPreferredLeader) {
		t.Error(err) // the controller has looked at the partition once more, too
	}
	if p := a.partition(tp); p.Leader >= 0 {
		t.Errorf("%+v", p)
	}
}

// Many topics of many partitions are made in one request, each by a transaction of its own, while the cluster's only other business
// waits: that takes etcd's time for some of them, not for each.
func TestManyLargeTopicsAreMadeInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.ctx = t.Context()
		m := c.start(1)
		var list []NewTopic
		for i := range 200 {
			list = append(list, NewTopic{Name: fmt.Sprint("t", i), Partitions: 50, ReplicationFactor: 1})
		}
		m.kv.SetFaults(func(c memkv.Call) (f memkv.Fault) {
			if c.Write {
				f.Delay = 100 * time.Millisecond
			}
			return f
		})
		start := time.Now()
		for i, got := range m.ctl.CreateTopics(c.ctx, list, false) {
			if got.Err != nil {
				t.Fatalf("topic %d: %v", i, got.Err)
			}
		}
		if took := time.Since(start); took > 3*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// An attempt to give a topic its first settings that arrives when a later one has given them, and they have been removed since,
// does not give them again.
func TestLateSettingsDoNotComeBack(t *testing.T) {
	for _, late := range []time.Duration{time.Second, time.Minute} {
		t.Run(late.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t)
				c.ctx = t.Context()
				m := c.start(1)
				m.create("t")
				tp, _ := m.store.Image().Topic("t")
				var bit sync.Once
				m.kv.SetFaults(func(call memkv.Call) (f memkv.Fault) {
					if slices.Contains(call.Keys, m.store.Keys().TopicSettings(tp.ID)) {
						bit.Do(func() { f.Late = late })
					}
					return f
				})
				alter := func(change SettingChange) error {
					err := ErrNotController
					for errors.Is(err, ErrNotController) {
						m.await("a controller", func(img *metadata.Image) bool { return img.Controller().ID >= 0 })
						err = m.ctl.AlterSettings(c.ctx, []AlterSettings{{Topic: "t", Changes: []SettingChange{change}}}, false)[0]
					}
					return err
				}
				if err := alter(SettingChange{Name: "retention.ms", Value: "1000"}); err != nil {
					t.Fatal(err)
				}
				if err := alter(SettingChange{Name: "retention.ms", Op: SettingDelete}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(5 * time.Minute)
				if got := m.store.Image().TopicOverrides(tp.ID); len(got) > 0 {
					t.Errorf("they are there again: %v", got)
				}
			})
		})
	}
}

// While such an attempt may be under way other topics are deleted, and the settings of others removed, as ever: clients that change
// settings do not ask another controller by themselves.
func TestLateChangesStandInTheWayOfNoOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.ctx = t.Context()
		m := c.start(1)
		m.create("b", "gone")
		if err := m.ctl.AlterSettings(c.ctx, []AlterSettings{{Topic: "b", Changes: []SettingChange{{Name: "retention.ms", Value: "1000"}}}}, false)[0]; err != nil {
			t.Fatal(err)
		}
		var bit sync.Once
		m.kv.SetFaults(func(call memkv.Call) (f memkv.Fault) {
			if slices.Contains(call.Keys, m.store.Keys().TopicName("a")) {
				bit.Do(func() { f.Late = time.Minute })
			}
			return f
		})
		m.create("a")
		if err := m.ctl.AlterSettings(c.ctx, []AlterSettings{{Topic: "b", Changes: []SettingChange{{Name: "retention.ms", Op: SettingDelete}}}}, false)[0]; err != nil {
			t.Error(err)
		}
		gone, _ := m.store.Image().Topic("gone")
		if err := m.ctl.DeleteTopics(c.ctx, []topic.ID{gone.ID})[0]; err != nil {
			t.Error(err)
		}
	})
}

// An attempt to make a topic that arrives when a later one has made it, and it has been deleted since, does not make it again.
func TestLateCreationDoesNotUndoADeletion(t *testing.T) {
	for _, late := range []time.Duration{time.Second, time.Minute} {
		for name, deed := range map[string]NewTopic{"with others": one("a"), "alone": {Name: "a", Partitions: 100, ReplicationFactor: 1}} {
			t.Run(fmt.Sprintf("%s, %v", name, late), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c := newCluster(t)
					c.ctx = t.Context()
					m := c.start(1)
					var bit sync.Once
					m.kv.SetFaults(func(call memkv.Call) (f memkv.Fault) {
						if slices.Contains(call.Keys, m.store.Keys().TopicName("a")) {
							bit.Do(func() { f.Late = late })
						}
						return f
					})
					if err := m.ctl.CreateTopics(c.ctx, []NewTopic{deed}, false)[0].Err; err != nil {
						t.Fatal(err)
					}
					a, _ := m.store.Image().Topic("a")
					err := ErrNotController
					for errors.Is(err, ErrNotController) {
						m.await("a controller", func(img *metadata.Image) bool { return img.Controller().ID >= 0 })
						err = m.ctl.DeleteTopics(c.ctx, []topic.ID{a.ID})[0]
					}
					if err != nil {
						t.Fatal(err)
					}
					time.Sleep(5 * time.Minute)
					if again, ok := m.store.Image().Topic("a"); ok {
						t.Errorf("it is there again: %+v", again)
					}
				})
			})
		}
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// plain returns a client of our own.
func plain(t *testing.T, addr string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(addr)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// seed writes n records a second apart, the first one at base, values 0 to n-1, round the partitions.
func seed(t *testing.T, addr, topic string, partitions int32, n int, base time.Time) {
	t.Helper()
	cl := plain(t, addr, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	var recs []*kgo.Record
	for i := range n {
		recs = append(recs, &kgo.Record{
			Topic: topic, Partition: int32(i) % partitions, Value: []byte(fmt.Sprint(i)), Timestamp: base.Add(time.Duration(i) * time.Second),
		})
	}
	if err := cl.ProduceSync(t.Context(), recs...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func TestConsumeBounds(t *testing.T) {
	_, addr := fakeCluster(t, kfake.SeedTopics(1, "t"))
	base := time.Now().Add(-time.Hour).Truncate(time.Second)
	seed(t, addr, "t", 1, 10, base)
	at := func(i int) string { return "@" + base.Add(time.Duration(i)*time.Second).UTC().Format(time.RFC3339) }
	tests := []struct {
		args []string
		want string
		warn string
	}{
		{[]string{"-e"}, "0123456789", ""},
		{[]string{"--exit", "--from", "latest"}, "", ""},
		{[]string{"--from", "7", "-e"}, "789", ""},
		{[]string{"--from", "2", "--until", "5"}, "234", ""},
		{[]string{"--from", "5", "--until", "2"}, "", ""},
		{[]string{"--until", "earliest"}, "", ""},
		{[]string{"--until", "latest", "--from", "9"}, "9", ""},
		{[]string{"--count", "3"}, "012", ""},
		{[]string{"--count", "3", "--from", "8", "-e"}, "89", ""},
		{[]string{"--count", "0"}, "", ""},
		{[]string{"--from", at(4), "-e"}, "456789", ""},
		{[]string{"--from", at(4), "--until", at(6)}, "45", ""},
		{[]string{"--from", "-2h", "-e"}, "0123456789", ""},
		{[]string{"--from", "-1m", "-e"}, "", ""},
		{[]string{"--until", "-30m"}, "0123456789", ""},
		{[]string{"--from", "50", "-e"}, "", "partition 0 holds offsets 0 to 10, so it is read from 10"},
		{[]string{"--partition", "0", "-e", "--from", "9"}, "9", ""},
	}
	for _, tt := range tests {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			r := firn(t, addr, "", append([]string{"consume", "t", "--format", "%v"}, tt.args...)...)
			if out := r.ok(t); out != tt.want {
				t.Errorf("got %q, want %q", out, tt.want)
			}
			if tt.warn == "" && r.err != "" || !strings.Contains(r.err, tt.warn) {
				t.Errorf("warns %q, want %q", r.err, tt.warn)
			}
		})
	}
	firn(t, addr, "", "consume", "nosuch", "-e").fails(t, exitError, "there is no such topic")
	firn(t, addr, "", "consume", "t", "-e", "--partition", "4").fails(t, exitError, "topic t has no partition 4, but 0")
}

func TestConsumeAfterRecordsAreGone(t *testing.T) {
	_, addr := fakeCluster(t, kfake.SeedTopics(1, "t"))
	seed(t, addr, "t", 1, 10, time.Now())
	adm := kadm.NewClient(plain(t, addr))
	if _, err := adm.DeleteRecords(t.Context(), kadm.Offsets{"t": {0: {Topic: "t", At: 6}}}); err != nil {
		t.Fatal(err)
	}
	r := firn(t, addr, "", "consume", "t", "-e", "--from", "2", "--format", "%v")
	if out := r.ok(t); out != "6789" || !strings.Contains(r.err, "so it is read from 6") {
		t.Errorf("got %q, warns %q", out, r.err)
	}
}

func TestConsumePartitions(t *testing.T) {
	_, addr := fakeCluster(t, kfake.SeedTopics(4, "t"))
	seed(t, addr, "t", 4, 8, time.Now())
	for parts, want := range map[string]int{"0": 2, "1,3": 4} {
		out := firn(t, addr, "", "consume", "t", "-e", "--partition", parts, "--format", "%p").ok(t)
		if len(out) != want || strings.Trim(out, parts) != "" {
			t.Errorf("partitions %s give %q", parts, out)
		}
	}
	if out := firn(t, addr, "", "consume", "t", "-e", "--from", "1", "--format", "%o").ok(t); out != "1111" {
		t.Errorf("got %q", out)
	}
}

// A partition that nobody leads keeps nobody from those that he names beside it.
func TestConsumePartitionsBesideOneWithoutALeader(t *testing.T) {
	c, addr := fakeCluster(t, kfake.SeedTopics(2, "t"))
	seed(t, addr, "t", 2, 8, time.Now())
	loseLeader(t, c, addr, "t", 0)
	if out := firn(t, addr, "", "consume", "t", "-e", "--partition", "1", "--format", "%o").ok(t); out != "0123" {
		t.Errorf("got %q", out)
	}
	firn(t, addr, "", "group", "reset-offsets", "g", "--to", "3", "--topic", "t:1").ok(t)
}

// Nor from a whole topic: its partition without a leader is read once it has one. Only who wants all there is has to fail.
func TestConsumeAroundAPartitionWithoutALeader(t *testing.T) {
	for name, args := range map[string][]string{
		"alone": nil, "in a group": {"--group", "g"}, "from a time": {"--from", "-2h"}, "both by name": {"--partition", "0,1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, addr := fakeCluster(t, kfake.SeedTopics(2, "t"))
			seed(t, addr, "t", 2, 4, time.Now())
			found := loseLeader(t, c, addr, "t", 0)
			out, errOut := newSyncBuffer(), newSyncBuffer()
			stop := background(t, testApp(addr, nil, out, errOut), append([]string{"consume", "t", "--format", "%p.%o "}, args...)...)
			errOut.waitFor(t, "(LEADER_NOT_AVAILABLE); partition 0 of t is read once somebody leads it\n")
			out.waitFor(t, "1.0 1.1 ")
			found()
			out.waitFor(t, "0.0 0.1 ")
			if code := stop(); code != exitOK {
				t.Errorf("exit code %d, %q", code, errOut)
			}
		})
	}
	t.Run("nothing else", func(t *testing.T) {
		t.Parallel()
		c, addr := fakeCluster(t, kfake.SeedTopics(2, "t"))
		seed(t, addr, "t", 2, 4, time.Now())
		found := loseLeader(t, c, addr, "t", 0)
		out, errOut := newSyncBuffer(), newSyncBuffer()
		background(t, testApp(addr, nil, out, errOut), "consume", "t", "--partition", "0", "--format", "%p.%o ")
		errOut.waitFor(t, "; partition 0 of t is read once somebody leads it\n")
		found()
		out.waitFor(t, "0.0 0.1 ")
		if strings.Contains(errOut.String(), "partition  of") {
			t.Errorf("warns %q", errOut)
		}
	})
	t.Run("to the end", func(t *testing.T) {
		t.Parallel()
		c, addr := fakeCluster(t, kfake.SeedTopics(2, "t"))
		loseLeader(t, c, addr, "t", 0)
		firn(t, addr, "", "consume", "t", "-e").fails(t, exitError, "(LEADER_NOT_AVAILABLE)\n")
	})
}

// An offset that it no longer holds is no reason to end once such a partition is led, as it is none at the beginning.
func TestConsumeFromAnOffsetThatIsGoneWithoutALeader(t *testing.T) {
	t.Parallel()
	c, addr := fakeCluster(t, kfake.SeedTopics(2, "t"))
	seed(t, addr, "t", 2, 6, time.Now())
	adm := kadm.NewClient(plain(t, addr))
	if _, err := adm.DeleteRecords(t.Context(), kadm.Offsets{"t": {0: {Topic: "t", At: 1}}}); err != nil {
		t.Fatal(err)
	}
	found := loseLeader(t, c, addr, "t", 0)
	out, errOut := newSyncBuffer(), newSyncBuffer()
	stop := background(t, testApp(addr, nil, out, errOut), "consume", "t", "--from", "0", "--format", "%p.%o ")
	out.waitFor(t, "1.0 1.1 1.2 ")
	found()
	out.waitFor(t, "0.1 0.2 ")
	errOut.waitFor(t, "partition 0 holds offsets 1 to 3, so it is read from 1\n")
	if code := stop(); code != exitOK {
		t.Errorf("exit code %d, %q", code, errOut)
	}
}

// Without a bound consume goes on until it is interrupted, writes what comes at once, and ends well.
func TestConsumeFollows(t *testing.T) {
	_, addr := fakeCluster(t, kfake.SeedTopics(1, "t"))
	seed(t, addr, "t", 1, 2, time.Now())
	out := newSyncBuffer()
	stop := background(t, testApp(addr, nil, out, newSyncBuffer()), "consume", "t", "--format", "%v;")
	out.waitFor(t, "0;1;")
	firn(t, addr, "more\n", "produce", "t").ok(t)
	out.waitFor(t, "0;1;more;")
	if code := stop(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
}

// A time to come ends the command when it has come, also if no record does.
func TestConsumeUntilLater(t *testing.T) {
	_, addr := fakeCluster(t, kfake.SeedTopics(1, "t"))
	seed(t, addr, "t", 1, 2, time.Now().Add(-time.Minute))
	until := "@" + time.Now().Add(300*time.Millisecond).UTC().Format(time.RFC3339Nano)
	if out := firn(t, addr, "", "consume", "t", "--until", until, "--format", "%v;").ok(t); out != "0;1;" {
		t.Errorf("got %q", out)
	}
}

// Nor does it end before its time has come in all partitions, because one of them has no leader just then.
func TestConsumeUntilLaterWithoutALeader(t *testing.T) {
	t.Parallel()
	c, addr := fakeCluster(t, kfake.SeedTopics(2, "t"))
	seed(t, addr, "t", 2, 2, time.Now().Add(-time.Minute))
	later := time.Now().Add(2 * time.Second)
	out, errOut := newSyncBuffer(), newSyncBuffer()
	a := testApp(addr, nil, out, errOut)
	code := make(chan int, 1)
	go func() {
		code <- run(t.Context(), a, []string{"consume", "t", "--until", "@" + later.UTC().Format(time.RFC3339Nano), "--format", "%p.%o "})
	}()
	out.waitFor(t, "0.0 ")
	out.waitFor(t, "1.0 ")
	found := loseLeader(t, c, addr, "t", 0)
	errOut.waitFor(t, "firn: find out where to stop: ")
	select {
	case got := <-code:
		t.Fatalf("it ends with exit code %d", got)
	default:
	}
	found()
	if got := <-code; got != exitOK {
		t.Errorf("exit code %d, %q", got, errOut)
	}
}

// Offsets at the end of a partition may belong to records that no reader gets to see.
func TestConsumeToTheEndOfATransaction(t *testing.T) {
	_, addr := fakeCluster(t, kfake.SeedTopics(1, "t"))
	cl := plain(t, addr, kgo.TransactionalID("x"), kgo.DefaultProduceTopic("t"))
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := cl.ProduceSync(t.Context(), kgo.StringRecord("in")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := cl.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	if out := firn(t, addr, "", "consume", "t", "-e").ok(t); out != "in\n" {
		t.Errorf("got %q", out)
	}
}

func TestConsumeGroup(t *testing.T) {
	_, addr := fakeCluster(t, kfake.SeedTopics(2, "t"))
	seed(t, addr, "t", 2, 10, time.Now())
	read := func(args ...string) string {
		return firn(t, addr, "", append([]string{"consume", "t", "--group", "g", "--format", "%v "}, args...)...).ok(t)
	}
	got := map[string]bool{}
	take := func(out string, n int) {
		t.Helper()
		words := strings.Fields(out)
		if len(words) != n {
			t.Fatalf("%d records, want %d: %q", len(words), n, out)
		}
		for _, w := range words {
			if got[w] {
				t.Fatalf("%s came twice", w)
			}
			got[w] = true
		}
	}
	take(read("--count", "3"), 3) // commits just these
	take(read("--exit"), 7)
	take(read("--exit"), 0)
	firn(t, addr, "late\n", "produce", "t", "--partition", "1").ok(t)
	take(read("--exit", "--from", "latest"), 1) // a commit goes before --from
	if out := firn(t, addr, "", "consume", "t", "--group", "h", "--from", "latest", "-e").ok(t); out != "" {
		t.Errorf("a new group from latest gets %q", out)
	}
}

func TestConsumeGroupFollowsAndCommits(t *testing.T) {
	_, addr := fakeCluster(t, kfake.SeedTopics(1, "t"))
	seed(t, addr, "t", 1, 3, time.Now())
	out := newSyncBuffer()
	stop := background(t, testApp(addr, nil, out, newSyncBuffer()), "consume", "t", "--group", "g", "--format", "%v;")
	out.waitFor(t, "0;1;2;")
	if code := stop(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	adm := kadm.NewClient(plain(t, addr))
	committed, err := adm.FetchOffsets(t.Context(), "g")
	if err != nil {
		t.Fatal(err)
	}
	if o, ok := committed.Lookup("t", 0); !ok || o.At != 3 {
		t.Errorf("committed is %+v", committed)
	}
	groups, err := adm.DescribeGroups(t.Context(), "g")
	if err != nil || len(groups["g"].Members) != 0 {
		t.Errorf("the group still has members: %+v, %v", groups["g"].Members, err)
	}
}

// Two members share the partitions; when one leaves the other takes over where it stopped.
func TestConsumeGroupRebalance(t *testing.T) {
	_, addr := fakeCluster(t, kfake.SeedTopics(4, "t"))
	seed(t, addr, "t", 4, 40, time.Now())
	outs := []*syncBuffer{newSyncBuffer(), newSyncBuffer()}
	first := background(t, testApp(addr, nil, outs[0], newSyncBuffer()), "consume", "t", "--group", "g", "--format", "<%v>")
	for i := range 40 {
		outs[0].waitFor(t, fmt.Sprintf("<%d>", i))
	}
	second := background(t, testApp(addr, nil, outs[1], newSyncBuffer()), "consume", "t", "--group", "g", "--format", "<%v>")
	adm := kadm.NewClient(plain(t, addr))
	waitUntil(t, "two members with two partitions each", func(ctx context.Context) bool {
		g, err := adm.DescribeGroups(ctx, "g")
		if err != nil || g["g"].State != "Stable" || len(g["g"].Members) != 2 {
			return false
		}
		for _, m := range g["g"].Members {
			if a, ok := m.Assigned.AsConsumer(); !ok || len(a.Topics) != 1 || len(a.Topics[0].Partitions) != 2 {
				return false
			}
		}
		return true
	})
	if code := first(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	for p := range 4 {
		firn(t, addr, fmt.Sprintf("new%d\n", p), "produce", "t", "--partition", fmt.Sprint(p)).ok(t)
	}
	for p := range 4 {
		outs[1].waitFor(t, fmt.Sprintf("<new%d>", p))
	}
	second()
	all := outs[0].String() + outs[1].String()
	for i := range 40 {
		if n := strings.Count(all, fmt.Sprintf("<%d>", i)); n != 1 {
			t.Errorf("record %d came %d times", i, n)
		}
	}
}

// waitUntil asks again and again until the answer is yes.
func waitUntil(t *testing.T, what string, yes func(context.Context) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !yes(ctx) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("never: %s", what)
		}
	}
}

func TestConsumeWriteError(t *testing.T) {
	_, addr := fakeCluster(t, kfake.SeedTopics(1, "t"))
	seed(t, addr, "t", 1, 3, time.Now())
	errOut := newSyncBuffer()
	a := testApp(addr, nil, brokenPipe{}, errOut)
	if code := run(t.Context(), a, []string{"consume", "t", "-e"}); code != exitError || !strings.Contains(errOut.String(), "write: ") {
		t.Errorf("exit code %d, %q", code, errOut)
	}
}

func TestWriteErrorsAreErrors(t *testing.T) {
	for _, args := range [][]string{{"version"}, {"version", "--json"}, {"config"}, {"topic", "--help"}} {
		errOut := newSyncBuffer()
		if code := run(t.Context(), testApp("", nil, brokenPipe{}, errOut), args); code != exitError || !strings.Contains(errOut.String(), "closed pipe") {
			t.Errorf("firn %q: exit code %d, %q", args, code, errOut)
		}
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func BenchmarkConsume(b *testing.B) {
	const size = 128
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t"))
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.DefaultProduceTopic("t"))
	if err != nil {
		b.Fatal(err)
	}
	value := make([]byte, size)
	for range b.N {
		cl.Produce(context.Background(), kgo.SliceRecord(value), nil)
	}
	if err := cl.Flush(context.Background()); err != nil {
		b.Fatal(err)
	}
	cl.Close()
	b.SetBytes(size)
	b.ReportAllocs()
	b.ResetTimer()
	a := testApp(c.ListenAddrs()[0], nil, io.Discard, io.Discard)
	if code := run(context.Background(), a, []string{"consume", "t", "-e"}); code != exitOK {
		b.Fatal(code)
	}
}

// A leader that was just elected does not know yet how far its partition can be read: that is no reason to give up.
func TestConsumeWaitsForNewLeader(t *testing.T) {
	c, addr := fakeCluster(t, kfake.SeedTopics(1, "t"))
	firn(t, addr, "a\n", "produce", "t").ok(t)
	asked := 0
	c.ControlKey(int16(kmsg.ListOffsets), func(req kmsg.Request) (kmsg.Response, error, bool) {
		if asked++; asked > 2 {
			return nil, nil, false
		}
		c.KeepControl()
		r := req.(*kmsg.ListOffsetsRequest)
		resp := r.ResponseKind().(*kmsg.ListOffsetsResponse)
		for _, topic := range r.Topics {
			rt := kmsg.NewListOffsetsResponseTopic()
			rt.Topic = topic.Topic
			for _, p := range topic.Partitions {
				rp := kmsg.NewListOffsetsResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p.Partition, kerr.OffsetNotAvailable.Code
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	})
	if out := firn(t, addr, "", "consume", "t", "--from", "earliest", "--count", "1").ok(t); out != "a\n" || asked < 3 {
		t.Errorf("got %q after %d questions", out, asked)
	}
}

// Nor is it one that a partition has no leader yet, as after the start of a whole cluster.
func TestConsumeWaitsForALeader(t *testing.T) {
	c, addr := fakeCluster(t, kfake.SeedTopics(1, "t"))
	firn(t, addr, "a\n", "produce", "t").ok(t)
	asked := 0
	c.ControlKey(int16(kmsg.Metadata), func(req kmsg.Request) (kmsg.Response, error, bool) {
		r := req.(*kmsg.MetadataRequest)
		if len(r.Topics) == 0 {
			c.KeepControl()
			return nil, nil, false
		}
		if asked++; asked > 3 {
			return nil, nil, false
		}
		c.KeepControl()
		resp := r.ResponseKind().(*kmsg.MetadataResponse)
		host, port, _ := net.SplitHostPort(addr)
		b := kmsg.NewMetadataResponseBroker()
		b.Host = host
		n, _ := strconv.Atoi(port)
		b.Port = int32(n)
		resp.Brokers = append(resp.Brokers, b)
		rt := kmsg.NewMetadataResponseTopic()
		rt.Topic, rt.TopicID = kmsg.StringPtr("t"), c.TopicInfo("t").TopicID
		rp := kmsg.NewMetadataResponseTopicPartition()
		rp.Leader, rp.ErrorCode, rp.Replicas = -1, kerr.LeaderNotAvailable.Code, []int32{0}
		rt.Partitions = append(rt.Partitions, rp)
		resp.Topics = append(resp.Topics, rt)
		return resp, nil, true
	})
	if out := firn(t, addr, "", "consume", "t", "--from", "earliest", "--count", "1").ok(t); out != "a\n" || asked < 3 {
		t.Errorf("got %q after %d questions", out, asked)
	}
}

// A member of a group whose output takes no more ends with an error, and its group goes on without it.
func TestGroupOutputFull(t *testing.T) {
	_, addr := fakeCluster(t, kfake.SeedTopics(1, "t"))
	firn(t, addr, "a\nb\nc\n", "produce", "t").ok(t)
	errOut := newSyncBuffer()
	code := make(chan int, 1)
	go func() {
		code <- run(t.Context(), testApp(addr, nil, fullWriter{}, errOut), []string{"consume", "t", "--group", "g"})
	}()
	select {
	case got := <-code:
		if got != exitError || errOut.String() != "firn: write: no space\n" {
			t.Errorf("exit code %d, %q", got, errOut.String())
		}
	case <-time.After(testTimeout):
		t.Fatalf("it does not end; it wrote %q", errOut.String())
	}
	groups, err := kadm.NewClient(plain(t, addr)).DescribeGroups(t.Context(), "g")
	if err != nil || len(groups["g"].Members) != 0 {
		t.Errorf("the group still has members: %+v, %v", groups["g"].Members, err)
	}
	if out := firn(t, addr, "", "consume", "t", "--group", "g", "-e", "--format", "%v ").ok(t); out != "a b c " {
		t.Errorf("the next member reads %q", out)
	}
}

type fullWriter struct{}

func (fullWriter) Write([]byte) (int, error) { return 0, errors.New("no space") }

// A coordinator that is away keeps nobody who has had enough.
func TestConsumeGroupInterruptedWithoutACoordinator(t *testing.T) {
	t.Parallel()
	c, addr := fakeCluster(t, kfake.SeedTopics(1, "t"))
	asked := make(chan struct{})
	c.ControlKey(int16(kmsg.FindCoordinator), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		select {
		case asked <- struct{}{}:
		default:
		}
		r := req.(*kmsg.FindCoordinatorRequest)
		resp := r.ResponseKind().(*kmsg.FindCoordinatorResponse)
		resp.ErrorCode = kerr.CoordinatorNotAvailable.Code
		for _, key := range r.CoordinatorKeys {
			rc := kmsg.NewFindCoordinatorResponseCoordinator()
			rc.Key, rc.ErrorCode = key, kerr.CoordinatorNotAvailable.Code
			resp.Coordinators = append(resp.Coordinators, rc)
		}
		return resp, nil, true
	})
	errOut := newSyncBuffer()
	stop := background(t, testApp(addr, nil, newSyncBuffer(), errOut), "consume", "t", "--group", "g")
	for range 3 {
		<-asked
	}
	began := time.Now()
	if code := stop(); code != exitOK {
		t.Errorf("exit code %d, %q", code, errOut)
	}
	if took := time.Since(began); took > 3*reachTimeout {
		t.Errorf("that took %s", took)
	}
}

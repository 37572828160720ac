package drive

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/brokertest/history"
)

// Consumers to whom a broker gives nothing any more, as if they were at the end of everything, are found out, although all that
// was acknowledged is there for others.
func TestDriveSilentConsumers(t *testing.T) {
	for who, change := range map[string]func(*Options){
		"process":  func(o *Options) { o.Members = 0 },
		"group g ": func(o *Options) { o.Readers = 0 },
	} {
		t.Run(who, func(t *testing.T) {
			r := newRig(t, change)
			r.until("records", func() bool { return r.Acked() > 50 })
			r.lie(kmsg.Fetch, func(req kmsg.Request) kmsg.Response { return req.ResponseKind() })
			acked := r.Acked()
			r.until("more records", func() bool { return r.Acked() > acked+100 })
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			err := r.Stop(ctx)
			if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), who) || !strings.Contains(err.Error(), "gets no further") {
				t.Errorf("stopped with %v, want that of %s", err, who)
			}
		})
	}
}

// A copy whose high watermark stands still, so that a consumer of it waits forever, is found out.
func TestDriveCopyThatIsBehind(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Members, o.Readers = 0, 0 })
	r.until("records", func() bool { return r.Acked() > 100 })
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := r.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	r.lie(kmsg.Fetch, func(req kmsg.Request) kmsg.Response {
		ask, resp := req.(*kmsg.FetchRequest), req.ResponseKind().(*kmsg.FetchResponse)
		rt, rp := kmsg.NewFetchResponseTopic(), kmsg.NewFetchResponseTopicPartition()
		rt.Topic, rp.Partition, rp.HighWatermark = ask.Topics[0].Topic, ask.Topics[0].Partitions[0].Partition, 0
		rt.Partitions = append(rt.Partitions, rp)
		resp.Topics = append(resp.Topics, rt)
		return resp
	})
	ctx, cancel = context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := r.ReadCopy(ctx, 0); err == nil || !strings.Contains(err.Error(), "high watermark 0") {
		t.Errorf("read a copy that has nothing: %v", err)
	}
}

// A coordinator that loses what a group committed after the last member has left is found out.
func TestDriveCommitsForgottenInTheEnd(t *testing.T) {
	r := newRig(t, nil)
	r.work(100)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := r.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	cl, err := franz{o: &r.o}.client(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	var gone kadm.TopicsSet
	gone.Add("work", 0, 1, 2)
	if resp, err := kadm.NewClient(cl).DeleteOffsets(ctx, "g", gone); err != nil || resp.Error() != nil {
		t.Fatal(err, resp.Error())
	}
	if report := r.judge(10 * time.Second); report.Found(history.CommittedReset) == 0 {
		t.Error(report)
	}
}

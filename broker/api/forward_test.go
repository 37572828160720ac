package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/controller"
	"firn/broker/wire"
	"firn/broker/wire/randmsg"
	"firn/broker/wire/wiretest"
	"firn/metadata"
)

// office is the API of the controller, broker 2, and what reaches it.
type office struct {
	*cluster
	mu    sync.Mutex
	sent  int
	after func(n int) error // what becomes of the n-th envelope before it is opened; may be nil
}

// newOffice returns a broker that is not the controller, and the controller it forwards to.
func newOffice(t *testing.T) (asked *cluster, o *office) {
	o = &office{cluster: newCluster(t, func(d *AdminDeps) { d.BrokerID = 2 })}
	o.ctl.current = func() int32 { return 2 }
	asked = newCluster(t, func(d *AdminDeps) { d.Forward = o.open })
	asked.ctl.current = func() int32 { return 2 }
	asked.ctl.err = errors.New("this one is not to be asked")
	return asked, o
}

func (o *office) open(_ context.Context, id int32, env *kmsg.EnvelopeRequest) (*kmsg.EnvelopeResponse, error) {
	o.mu.Lock()
	o.sent++
	n := o.sent
	o.mu.Unlock()
	if o.after != nil {
		if err := o.after(n); err != nil {
			return nil, err
		}
	}
	sink := wiretest.NewSink()
	o.api.Serve(wiretest.NewRequest(o.t, wiretest.NewConn(o.t), sink, env))
	select {
	case out := <-sink.Outcomes:
		return out.Response.(*kmsg.EnvelopeResponse), out.Err
	case <-time.After(callTimeout):
		return nil, fmt.Errorf("%w: no answer from %d", metadata.ErrUnknown, id)
	}
}

func createRequest(names ...string) *kmsg.CreateTopicsRequest {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version = 7
	for _, n := range names {
		req.Topics = append(req.Topics, newTopicReq(n, 1, 1))
	}
	return req
}

// Whatever changes the cluster may be sent to any broker, in any version: the answer is, to the byte, the controller's.
func TestChangesThroughAnyBroker(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	asked, o := newOffice(t)
	keys := []kmsg.Key{
		kmsg.CreateTopics, kmsg.DeleteTopics, kmsg.AlterConfigs, kmsg.CreatePartitions, kmsg.ElectLeaders, kmsg.IncrementalAlterConfigs,
		kmsg.AlterPartitionAssignments, kmsg.UnregisterBroker,
	}
	for _, key := range keys {
		e := entries[key.Int16()]
		for v := e.min; v <= e.max; v++ {
			req := key.Request()
			req.SetVersion(v)
			randmsg.Fill(rng, req)
			tame(req)
			there := callOutcome(t, o.api, req)
			here := callOutcome(t, asked.api, req)
			if there.Err != nil || here.Err != nil || !bytes.Equal(here.Raw, there.Raw) {
				t.Errorf("%s v%d: %+v through another broker, %+v by the controller", key.Name(), v, here, there)
			}
		}
	}
	if len(asked.ctl.asked) > 0 {
		t.Error("a broker decided that is not the controller")
	}
}

// The controller authorises for whom the request came, not for the broker that brought it.
func TestForwardedInTheNameOfTheClient(t *testing.T) {
	asked, o := newOffice(t)
	alice := wire.Principal{Type: "User", Name: "alice"}
	var seen []wire.Principal
	o.api.auth = authorizerFunc(func(who wire.Principal, key kmsg.Key) bool {
		if key != kmsg.Envelope {
			seen = append(seen, who)
		}
		return key != kmsg.DeleteTopics
	})
	conn := wiretest.NewConn(t)
	conn.Principal = alice
	resp := callOn(t, asked.api, conn, createRequest("a")).Response.(*kmsg.CreateTopicsResponse)
	wantCode(t, "allowed", resp.Topics[0].ErrorCode, nil)

	asked.addTopic("b", 1, 1)
	del := kmsg.NewPtrDeleteTopicsRequest()
	del.Version = 6
	del.Topics = []kmsg.DeleteTopicsRequestTopic{{Topic: ptr("b")}}
	refused := callOn(t, asked.api, conn, del).Response.(*kmsg.DeleteTopicsResponse)
	wantCode(t, "refused", refused.Topics[0].ErrorCode, kerr.ClusterAuthorizationFailed)
	if !slices.Equal(seen, []wire.Principal{alice, alice}) {
		t.Errorf("authorised for %v", seen)
	}
}

// A controller that cannot be reached, or is none any more, is looked for again: nothing has happened yet.
func TestTheControllerIsLookedForAgain(t *testing.T) {
	for name, reason := range map[string]error{"away": metadata.ErrUnavailable, "elsewhere": nil, "nobody": nil} {
		t.Run(name, func(t *testing.T) {
			asked, o := newOffice(t)
			o.after = func(n int) error {
				switch {
				case n < 3:
					return reason
				case n == 3:
					o.ctl.current = func() int32 { return 2 }
				}
				return nil
			}
			if name == "elsewhere" {
				o.ctl.current = func() int32 { return 7 }
			}
			if name == "nobody" {
				calls := 0
				asked.ctl.current = func() int32 {
					if calls++; calls < 3 {
						return -1
					}
					return 2
				}
			}
			resp := call[*kmsg.CreateTopicsResponse](t, asked.api, createRequest("a"))
			wantCode(t, "topic", resp.Topics[0].ErrorCode, nil)
			if len(o.ctl.create) != 1 {
				t.Errorf("created %+v", o.ctl.create)
			}
		})
	}
}

// What a client asked for that has gone before there was a controller is not done: it may have asked again since, or for something else.
func TestNothingIsBegunForAClientThatHasGone(t *testing.T) {
	asked, o := newOffice(t)
	conn := wiretest.NewConn(t)
	ctx, hangUp := context.WithCancel(t.Context())
	conn.Context = ctx
	calls := 0
	asked.ctl.current = func() int32 {
		if calls++; calls < 3 {
			return -1
		}
		hangUp()
		return 2
	}
	asked.ctl.err = nil
	resp := callOn(t, asked.api, conn, createRequest("a")).Response.(*kmsg.CreateTopicsResponse)
	wantCode(t, "topic", resp.Topics[0].ErrorCode, kerr.RequestTimedOut)
	if o.sent > 0 || len(asked.ctl.create)+len(o.ctl.create) > 0 {
		t.Errorf("%d envelopes; created here %+v, there %+v", o.sent, asked.ctl.create, o.ctl.create)
	}
}

// resigning is a controller that is none any more for the first requests that it is to carry out.
type resigning struct {
	*fakeController
	times, asked int
	partly       bool // what is named first is carried out
}

func (r *resigning) CreateTopics(ctx context.Context, topics []controller.NewTopic, validateOnly bool) []controller.CreatedTopic {
	created := r.fakeController.CreateTopics(ctx, topics, validateOnly)
	if r.asked++; r.asked <= r.times {
		for i := range created {
			if i > 0 || !r.partly {
				created[i] = controller.CreatedTopic{Err: fmt.Errorf("create: %w", controller.ErrNotController)}
			}
		}
	}
	return created
}

// Nor is a client told to look for the controller when that changes under its request: what has not happened is asked for again, and only
// that.
func TestTheControllerChangesMeanwhile(t *testing.T) {
	for _, here := range []bool{true, false} {
		for _, partly := range []bool{false, true} {
			asked, o := newOffice(t)
			if here {
				asked = o.cluster
			}
			r := &resigning{fakeController: o.ctl, times: 2, partly: partly}
			o.api.admin.Controller = r
			resp := call[*kmsg.CreateTopicsResponse](t, asked.api, createRequest("a", "b"))
			codes, want, times := []int16{resp.Topics[0].ErrorCode, resp.Topics[1].ErrorCode}, []*kerr.Error{nil, nil}, 3
			if partly {
				want[1], times = kerr.NotController, 1
			}
			wantCodes(t, codes, want...)
			if r.asked != times {
				t.Errorf("here %v, partly %v: asked %d times", here, partly, r.asked)
			}
		}
	}
}

// A broker that has become the controller while it looked for one decides itself.
func TestTheControllerIsHereByNow(t *testing.T) {
	asked, o := newOffice(t)
	o.after = func(int) error {
		asked.ctl.current = func() int32 { return 1 }
		return metadata.ErrUnavailable
	}
	asked.ctl.err = nil
	resp := call[*kmsg.CreateTopicsResponse](t, asked.api, createRequest("a"))
	wantCode(t, "topic", resp.Topics[0].ErrorCode, nil)
	if len(asked.ctl.create) != 1 || len(o.ctl.create) != 0 {
		t.Errorf("created here %+v, there %+v", asked.ctl.create, o.ctl.create)
	}
}

// A request that waited for its place behind others, which a controller did not answer, goes to the controller of then.
func TestWhoWaitsForAPlaceAsksTheControllerOfThen(t *testing.T) {
	var now atomic.Int32
	now.Store(2)
	sent, frozen := make(chan int32), make(chan struct{})
	asked := newCluster(t, func(d *AdminDeps) {
		d.Forward = func(_ context.Context, id int32, _ *kmsg.EnvelopeRequest) (*kmsg.EnvelopeResponse, error) {
			sent <- id
			if id == 2 {
				<-frozen
			}
			return nil, fmt.Errorf("%w: connection reset", metadata.ErrUnknown)
		}
	})
	waits, asks := make(chan struct{}), atomic.Int32{}
	var once sync.Once
	asked.ctl.current = func() int32 {
		defer func() {
			if asks.Add(1) > 2*maxForwarding {
				once.Do(func() { close(waits) })
			}
		}()
		return now.Load()
	}
	serve := func() *wiretest.Sink {
		sink := wiretest.NewSink()
		go asked.api.Serve(wiretest.NewRequest(t, wiretest.NewConn(t), sink, createRequest("a")))
		return sink
	}
	receive := func() int32 {
		select {
		case id := <-sent:
			return id
		case <-time.After(callTimeout):
			t.Fatal("nobody is asked")
			return 0
		}
	}
	for range maxForwarding {
		serve()
		receive()
	}
	last := serve()
	<-waits // it knows whom it will ask
	now.Store(3)
	close(frozen)
	if id := receive(); id != 3 {
		t.Errorf("broker %d is asked", id)
	}
	<-last.Outcomes
}

// What may have been carried out is not sent again, and the client is told so, for each thing it asked for.
func TestForwardedOnceIfTheOutcomeIsUnknown(t *testing.T) {
	asked, o := newOffice(t)
	o.after = func(int) error { return fmt.Errorf("%w: connection reset", metadata.ErrUnknown) }
	resp := call[*kmsg.CreateTopicsResponse](t, asked.api, createRequest("a", "b"))
	wantCodes(t, []int16{resp.Topics[0].ErrorCode, resp.Topics[1].ErrorCode}, kerr.RequestTimedOut, kerr.RequestTimedOut)
	if o.sent != 1 {
		t.Errorf("sent %d times", o.sent)
	}
}

// A topic that a client asks any broker for is created by the controller, in the client's name.
func TestAutoCreationThroughAnyBroker(t *testing.T) {
	asked, o := newOffice(t)
	req := kmsg.NewPtrMetadataRequest()
	req.Version, req.AllowAutoTopicCreation = 13, true
	for _, n := range []string{"one", "two"} {
		rt := kmsg.NewMetadataRequestTopic()
		rt.Topic = ptr(n)
		req.Topics = append(req.Topics, rt)
	}
	resp := call[*kmsg.MetadataResponse](t, asked.api, req)
	wantCodes(t, []int16{resp.Topics[0].ErrorCode, resp.Topics[1].ErrorCode}, kerr.UnknownTopicOrPartition, kerr.UnknownTopicOrPartition)
	o.ctl.awaitCalls(t, 1)
	if got := o.ctl.create; len(got) != 2 || got[0].Name != "one" || got[1].Partitions != -1 || got[1].ReplicationFactor != -1 {
		t.Errorf("created %+v", got)
	}
}

// Who may not create a topic does not get one by asking for it.
func TestAutoCreationIsAuthorized(t *testing.T) {
	c := newCluster(t)
	c.api.auth = authorizerFunc(func(_ wire.Principal, key kmsg.Key) bool { return key != kmsg.CreateTopics })
	resp := askMetadata(t, c, 13, "secret")
	wantCode(t, "topic", resp.Topics[0].ErrorCode, kerr.UnknownTopicOrPartition)
	if len(c.ctl.asked) != 0 || len(c.api.auto.mu.creating) != 0 {
		t.Errorf("created %+v, creating %v", c.ctl.create, c.api.auto.mu.creating)
	}
}

func TestEnvelopesThatAreNotOpened(t *testing.T) {
	_, o := newOffice(t)
	frame := func(req kmsg.Request) []byte { return kmsg.NewRequestFormatter().AppendRequest(nil, req, 9)[4:] }
	create := frame(createRequest("a"))
	newer := bytes.Clone(create)
	newer[3]++ // the version
	who := wire.Anonymous.AppendTo(nil)
	meta := kmsg.NewPtrMetadataRequest()
	for name, tc := range map[string]struct {
		data, principal []byte
		elsewhere       bool
		want            *kerr.Error
	}{
		"fine":          {data: create, principal: who},
		"not a request": {data: create[:5], principal: who, want: kerr.InvalidRequest},
		"cut off":       {data: create[:len(create)-8], principal: who, want: kerr.InvalidRequest},
		"nothing":       {principal: who, want: kerr.InvalidRequest},
		"not forwarded": {data: frame(meta), principal: who, want: kerr.InvalidRequest},
		"envelope":      {data: frame(kmsg.NewPtrEnvelopeRequest()), principal: who, want: kerr.InvalidRequest},
		"newer":         {data: newer, principal: who, want: kerr.UnsupportedVersion},
		"nobody":        {data: create, want: kerr.PrincipalDeserializationFailure},
		"elsewhere":     {data: create, principal: who, elsewhere: true, want: kerr.NotController},
	} {
		o.ctl.current = func() int32 {
			if tc.elsewhere {
				return 1
			}
			return 2
		}
		env := kmsg.NewPtrEnvelopeRequest()
		env.RequestData, env.RequestPrincipal, env.ClientHostAddress = tc.data, tc.principal, []byte{127, 0, 0, 1}
		resp := call[*kmsg.EnvelopeResponse](t, o.api, env)
		wantCode(t, name, resp.ErrorCode, tc.want)
		if (tc.want == nil) != (len(resp.ResponseData) > 0) {
			t.Errorf("%s: answer of %d bytes", name, len(resp.ResponseData))
		}
	}
}

// ApiVersions lists what is for clients.
func TestEnvelopeIsNotListed(t *testing.T) {
	c := newCluster(t)
	resp := call[*kmsg.ApiVersionsResponse](t, c.api, kmsg.NewPtrApiVersionsRequest())
	for _, k := range resp.ApiKeys {
		if k.ApiKey == kmsg.Envelope.Int16() {
			t.Error("Envelope is listed")
		}
	}
}

// Clients of a listener that the controller has not are to ask this broker, which forwards.
func TestMetadataNamesWhoForwards(t *testing.T) {
	c := newCluster(t)
	c.runController(c.addBroker(2, metadata.Listener{Name: "INTERNAL", Host: "two", Port: 9093}))
	if id := askMetadata(t, c, 13).ControllerID; id != 1 {
		t.Errorf("Metadata: controller %d", id)
	}
	if id := call[*kmsg.DescribeClusterResponse](t, c.api, kmsg.NewPtrDescribeClusterRequest()).ControllerID; id != 1 {
		t.Errorf("DescribeCluster: controller %d", id)
	}
}

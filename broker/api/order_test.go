package api

import (
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/wire/wiretest"
)

// What a client sends on one connection is done in the order in which it is sent, also if it does not wait for the answers:
// of two changes of one setting the second holds.
func TestChangesOfAConnectionAreMadeInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		slow := make(chan struct{})
		var calls atomic.Int32
		c.ctl.current = func() int32 {
			if calls.Add(1) == 1 {
				<-slow // the controller is just being elected
			}
			return 1
		}
		conn, sink := wiretest.NewConn(t), wiretest.NewSink()
		go func() { // the connection's reader
			for _, v := range []string{"1", "2", "3"} {
				req := kmsg.NewPtrIncrementalAlterConfigsRequest()
				res := kmsg.NewIncrementalAlterConfigsRequestResource()
				res.ResourceType = kmsg.ConfigResourceTypeBroker
				one := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
				one.Name, one.Value = "log.retention.ms", &v
				res.Configs = append(res.Configs, one)
				req.Version, req.Resources = 1, append(req.Resources, res)
				c.api.Serve(wiretest.NewRequest(t, conn, sink, req))
			}
		}()
		synctest.Wait()
		if n := len(c.ctl.alter); n > 0 {
			t.Errorf("%d changes are made before the first one", n)
		}
		close(slow)
		for range 3 {
			<-sink.Outcomes
		}
		for i, want := range []string{"1", "2", "3"} {
			if got := c.ctl.alter[i].Changes[0].Value; got != want {
				t.Errorf("change %d sets %s", i+1, got)
			}
		}
	})
}

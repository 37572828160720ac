package api

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/wire"
	"firn/metadata"
)

// DescribeCluster (key 60), versions 0-2.
//
// The cluster's id, its controller, and the live brokers with their address under the client's
// listener.
//
//   - v1: the client says which kind of endpoint it believes to talk to; controllers are no endpoints
//     of their own here, so asking for them is MISMATCHED_ENDPOINT_TYPE.
//   - v2: fenced brokers are listed when asked for: those that were registered and are away now.
//     Nobody knows an address for them, so their host is empty and their port -1.
func init() { register(kmsg.DescribeCluster, 0, 2, (*API).describeCluster) }

const (
	endpointBrokers     = 1
	endpointControllers = 2
)

func (a *API) describeCluster(req *wire.Request, body *kmsg.DescribeClusterRequest) {
	resp := kmsg.NewPtrDescribeClusterResponse()
	resp.ControllerID, resp.ClusterAuthorizedOperations = -1, notAsked
	resp.EndpointType = endpointBrokers
	if body.Version >= 1 && body.EndpointType != endpointBrokers {
		err := refusal(kerr.UnsupportedEndpointType, "there are no endpoints of this type")
		if body.EndpointType == endpointControllers {
			err = refusal(kerr.MismatchedEndpointType, "this is an endpoint of a broker, not of a controller")
		}
		resp.ErrorCode, resp.ErrorMessage = a.outcome(err, "describe cluster", "")
		req.Reply(resp)
		return
	}
	im := a.admin.Image()
	pl := places{im: im, self: a.admin.BrokerID, listener: req.Conn.Listener}
	resp.ClusterID, resp.ControllerID = im.Cluster().ID, pl.controllerID()
	resp.ClusterAuthorizedOperations = operations(body.IncludeClusterAuthorizedOperations, clusterOperations)
	for _, b := range im.Brokers() {
		if l, ok := b.Listener(pl.listener); ok {
			rb := kmsg.NewDescribeClusterResponseBroker()
			rb.NodeID, rb.Host, rb.Port, rb.Rack = b.ID, l.Host, l.Port, rack(b.Rack)
			resp.Brokers = append(resp.Brokers, rb)
		}
	}
	if body.IncludeFencedBrokers {
		resp.Brokers = append(resp.Brokers, fencedBrokers(im)...)
	}
	req.Reply(resp)
}

func fencedBrokers(im *metadata.Image) []kmsg.DescribeClusterResponseBroker {
	var out []kmsg.DescribeClusterResponseBroker
	for _, n := range im.Nodes() {
		if _, live := im.Broker(n.ID); live || n.State == metadata.NodeGone {
			continue
		}
		rb := kmsg.NewDescribeClusterResponseBroker()
		rb.NodeID, rb.Port, rb.Rack, rb.IsFenced = n.ID, -1, rack(n.Rack), true
		out = append(out, rb)
	}
	return out
}

package api

import (
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/wire"
)

// ApiVersions (key 18), versions 0-5.
//
// Lists exactly the table that Serve decides by, so a client can only choose what is served, but for
// Produce 0-2: they are listed and refused, because librdkafka before 2.1 takes a broker that does
// not list them for one that cannot do gzip, snappy and lz4, and sends uncompressed. Keys that are for
// other brokers alone are not listed, as in Kafka.
//
//   - v0: no throttle. v3: flexible; the client says its software and version, which must match
//     [a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])? or the answer is INVALID_REQUEST.
//   - v5: the client may say which cluster and node it believes to reach: REBOOTSTRAP_REQUIRED if it
//     is another one, INVALID_REQUEST if it names only one of the two.
//   - A version above 5 is answered in the form of v0 with UNSUPPORTED_VERSION and the list.
//
// Left out: feature levels are not advertised (there is nothing to negotiate yet).
func init() { register(kmsg.ApiVersions, 0, 5, (*API).apiVersions) }

func (a *API) apiVersions(req *wire.Request, body *kmsg.ApiVersionsRequest) {
	resp := kmsg.NewPtrApiVersionsResponse()
	if err := a.checkHello(body); err != nil {
		resp.ErrorCode = err.Code
		req.Reply(resp)
		return
	}
	if body.Version >= 3 {
		req.Conn.SetSoftware(wire.Software{
			Name:    strings.Clone(body.ClientSoftwareName),
			Version: strings.Clone(body.ClientSoftwareVersion),
		})
	}
	resp.ApiKeys = listedVersions()
	req.Reply(resp)
}

// checkHello checks what a client says of itself and of us.
func (a *API) checkHello(body *kmsg.ApiVersionsRequest) *kerr.Error {
	if body.Version >= 3 && !(validSoftware(body.ClientSoftwareName) && validSoftware(body.ClientSoftwareVersion)) {
		return kerr.InvalidRequest
	}
	if body.Version < 5 || body.ClusterID == nil && body.NodeID == -1 {
		return nil
	}
	switch {
	case body.ClusterID == nil || body.NodeID == -1:
		return kerr.InvalidRequest
	case *body.ClusterID != a.admin.Image().Cluster().ID || body.NodeID != a.admin.BrokerID:
		return kerr.RebootstrapRequired
	}
	return nil
}

// refuseApiVersions answers a version that is not served in the one form every client can read.
func (a *API) refuseApiVersions(req *wire.Request) {
	resp := kmsg.NewPtrApiVersionsResponse()
	resp.ErrorCode = kerr.UnsupportedVersion.Code
	resp.ApiKeys = listedVersions()
	req.ReplyBody(wire.EncodeResponse(req.CorrelationID, resp))
}

func listedVersions() []kmsg.ApiVersionsResponseApiKey {
	var keys []kmsg.ApiVersionsResponseApiKey
	for _, s := range Versions() {
		if s.Hidden {
			continue
		}
		k := kmsg.NewApiVersionsResponseApiKey()
		k.ApiKey, k.MinVersion, k.MaxVersion = s.Key.Int16(), s.Listed, s.Max
		keys = append(keys, k)
	}
	return keys
}

// maxSoftwareLen bounds what is kept per connection.
const maxSoftwareLen = 256

// validSoftware is Kafka's rule for a client's name and version.
func validSoftware(s string) bool {
	if s == "" || len(s) > maxSoftwareLen {
		return false
	}
	for i := range len(s) {
		c := s[i]
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (c != '-' && c != '.' || i == 0 || i == len(s)-1) {
			return false
		}
	}
	return true
}

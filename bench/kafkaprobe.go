package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// kafkaProbe is a server that lets Kafka clients in and leaves produce and fetch to a probe. It knows every
// topic, has no state, checks nothing and serves old versions only, which are the cheapest to read.
type kafkaProbe struct {
	partitions int32
	addr       *net.TCPAddr
	produce    func(c *probeConn, req *kmsg.ProduceRequest) error // writes its reply itself
	fetch      func(c *probeConn, req *kmsg.FetchRequest) error
	producers  atomic.Int64
}

// The versions served: the last ones before compact encodings.
var probeVersions = []kmsg.ApiVersionsResponseApiKey{
	{ApiKey: int16(kmsg.Produce), MinVersion: 3, MaxVersion: 7},
	{ApiKey: int16(kmsg.Fetch), MinVersion: 4, MaxVersion: 11},
	{ApiKey: int16(kmsg.ListOffsets), MinVersion: 1, MaxVersion: 2},
	{ApiKey: int16(kmsg.Metadata), MinVersion: 1, MaxVersion: 5},
	{ApiKey: int16(kmsg.ApiVersions), MinVersion: 0, MaxVersion: 2},
	{ApiKey: int16(kmsg.InitProducerID), MinVersion: 0, MaxVersion: 1},
}

// probeConn is one client of a probe.
type probeConn struct {
	net.Conn
	tcp         *net.TCPConn
	correlation int32
	frame, out  []byte
}

// maxProbeFrame bounds what a client may make a probe hold.
const maxProbeFrame = 128 << 20

// serve accepts clients until ctx ends.
func (k *kafkaProbe) serve(ctx context.Context, ln net.Listener) error {
	k.addr = ln.Addr().(*net.TCPAddr)
	return acceptAll(ctx, ln, func(conn net.Conn) error {
		return k.client(&probeConn{Conn: conn, tcp: conn.(*net.TCPConn)})
	})
}

func (k *kafkaProbe) client(c *probeConn) error {
	var head [4]byte
	for {
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return ignoreGone(err)
		}
		n := int(binary.BigEndian.Uint32(head[:]))
		if n < 10 || n > maxProbeFrame {
			return fmt.Errorf("frame of %d bytes", n)
		}
		if cap(c.frame) < n {
			c.frame = make([]byte, n+n/4)
		}
		frame := c.frame[:n]
		if _, err := io.ReadFull(c, frame); err != nil {
			return ignoreGone(err)
		}
		if err := k.request(c, frame); err != nil {
			return ignoreGone(err)
		}
	}
}

func (k *kafkaProbe) request(c *probeConn, frame []byte) error {
	key, version := int16(binary.BigEndian.Uint16(frame)), int16(binary.BigEndian.Uint16(frame[2:]))
	c.correlation = int32(binary.BigEndian.Uint32(frame[4:]))
	if key == int16(kmsg.ApiVersions) {
		return c.reply(apiVersions(version))
	}
	idLen := int16(binary.BigEndian.Uint16(frame[8:]))
	body := frame[10:]
	if idLen > 0 {
		if len(body) < int(idLen) {
			return errors.New("client id is cut short")
		}
		body = body[idLen:]
	}
	req := kmsg.RequestForKey(key)
	if req == nil {
		return fmt.Errorf("unknown request %d", key)
	}
	req.SetVersion(version)
	if err := req.ReadFrom(body); err != nil {
		return fmt.Errorf("%s: %w", kmsg.NameForKey(key), err)
	}
	switch req := req.(type) {
	case *kmsg.ProduceRequest:
		if k.produce != nil {
			return k.produce(c, req)
		}
	case *kmsg.FetchRequest:
		if k.fetch != nil {
			return k.fetch(c, req)
		}
	case *kmsg.MetadataRequest:
		return c.reply(k.metadata(req))
	case *kmsg.InitProducerIDRequest:
		resp := req.ResponseKind().(*kmsg.InitProducerIDResponse)
		resp.ProducerID = k.producers.Add(1)
		return c.reply(resp)
	}
	return fmt.Errorf("a probe does not serve %s", kmsg.NameForKey(key))
}

func apiVersions(version int16) kmsg.Response {
	resp := kmsg.NewPtrApiVersionsResponse()
	resp.ApiKeys = probeVersions
	if version > 2 {
		resp.ErrorCode = 35 // UNSUPPORTED_VERSION, which any client can read in version 0
		version = 0
	}
	resp.Version = version
	return resp
}

func (k *kafkaProbe) metadata(req *kmsg.MetadataRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.MetadataResponse)
	b := kmsg.NewMetadataResponseBroker()
	b.NodeID, b.Host, b.Port = 1, k.addr.IP.String(), int32(k.addr.Port)
	resp.Brokers, resp.ControllerID = append(resp.Brokers, b), 1
	for _, t := range req.Topics {
		rt := kmsg.NewMetadataResponseTopic()
		rt.Topic = t.Topic
		for p := range k.partitions {
			rp := kmsg.NewMetadataResponseTopicPartition()
			rp.Partition, rp.Leader, rp.Replicas, rp.ISR = p, 1, []int32{1}, []int32{1}
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

// reply sends a response.
func (c *probeConn) reply(resp kmsg.Response) error {
	c.out = resp.AppendTo(append(c.out[:0], 0, 0, 0, 0, 0, 0, 0, 0))
	binary.BigEndian.PutUint32(c.out, uint32(len(c.out)-4))
	binary.BigEndian.PutUint32(c.out[4:], uint32(c.correlation))
	_, err := c.Write(c.out)
	return err
}

// fileName names a probe's file of a partition.
func fileName(partition int32) string { return strconv.Itoa(int(partition)) + ".log" }

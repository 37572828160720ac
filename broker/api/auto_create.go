package api

import (
	"errors"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/wire"
)

// maxAutoCreating bounds the topics that are being created because clients asked for them. What goes
// beyond is created when it is asked for again.
const maxAutoCreating = 1000

// autoCreatePause is how long a topic that was refused is not asked for again: clients that wait for it ask many times a
// second together, for as long as they run. It is short, as a broker may come that was missing. As many are remembered as may
// be created.
const autoCreatePause = time.Second

// autoCreateVersion is the version of CreateTopics that creates them.
const autoCreateVersion = 7

// kafkasOwn are topics that Kafka makes for itself, and this broker has no use for. Clients look whether they are there already:
// sarama, where a group has no coordinator. Tools that find them take them for where groups keep their offsets.
var kafkasOwn = map[string]bool{"__consumer_offsets": true, "__transaction_state": true, "__share_group_state": true}

// autoCreator creates topics behind the answers that say they do not exist: by a CreateTopics in the client's name, which
// may do here what it may do itself, served as any other. Safe for concurrent use.
type autoCreator struct {
	serve func(*wire.Request)
	log   *slog.Logger
	now   func() time.Time

	mu struct {
		sync.Mutex
		creating map[string]bool
		refused  map[string]time.Time // until when they are
	}
}

func newAutoCreator(serve func(*wire.Request), log *slog.Logger) *autoCreator {
	a := &autoCreator{serve: serve, log: log, now: time.Now}
	a.mu.creating, a.mu.refused = map[string]bool{}, map[string]time.Time{}
	return a
}

// create has topics created that nobody is creating yet, and that have not just been refused, and does not wait for it.
func (a *autoCreator) create(conn *wire.Conn, names []string) {
	if len(names) == 0 {
		return
	}
	body := kmsg.NewPtrCreateTopicsRequest()
	body.Version, body.TimeoutMillis = autoCreateVersion, int32(defaultAdminTimeout.Milliseconds())
	var list []string
	now := a.now()
	a.mu.Lock()
	for _, n := range names {
		if !a.mu.creating[n] && len(a.mu.creating) < maxAutoCreating && !now.Before(a.mu.refused[n]) {
			n = strings.Clone(n) // or all of the request would be kept with it
			a.mu.creating[n] = true
			t := kmsg.NewCreateTopicsRequestTopic()
			t.Topic, t.NumPartitions, t.ReplicationFactor = n, -1, -1
			body.Topics, list = append(body.Topics, t), append(list, n)
		}
	}
	a.mu.Unlock()
	if len(list) == 0 {
		return
	}
	call := &autoCreation{creator: a, names: list}
	frame := kmsg.NewRequestFormatter().AppendRequest(nil, body, 0)[4:]
	req, err := wire.NewRequest(conn, frame, nil, call)
	if err != nil {
		call.Fail(nil, err)
		call.Deliver(nil, nil)
		return
	}
	go a.serve(req) // which is done when the topics are made
}

// autoCreation is one request of an autoCreator and takes what comes of it.
type autoCreation struct {
	creator *autoCreator
	names   []string
}

// Deliver implements wire.Sink.
func (c *autoCreation) Deliver(_ *wire.Request, body *wire.Body) {
	refused := c.refused(body)
	a := c.creator
	now := a.now()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, n := range c.names {
		delete(a.mu.creating, n)
		delete(a.mu.refused, n)
	}
	if len(a.mu.refused)+len(refused) > maxAutoCreating {
		maps.DeleteFunc(a.mu.refused, func(_ string, until time.Time) bool { return !now.Before(until) })
	}
	for _, n := range refused {
		if len(a.mu.refused) < maxAutoCreating {
			a.mu.refused[n] = now.Add(autoCreatePause)
		}
	}
}

// refused tells what came of the topics in the log, and returns those that trying again would not make.
func (c *autoCreation) refused(body *wire.Body) (names []string) {
	if body == nil {
		return nil
	}
	log := c.creator.log
	resp := kmsg.NewPtrCreateTopicsResponse()
	resp.Version = autoCreateVersion
	if err := body.Decode(resp); err != nil {
		log.Error("topics that clients asked for", "error", err)
		return nil
	}
	for i := range resp.Topics {
		switch t := &resp.Topics[i]; {
		case t.ErrorCode == 0:
			log.Info("topic created because a client asked for it", "topic", t.Topic)
		case t.ErrorCode != kerr.TopicAlreadyExists.Code:
			err := kerr.ErrorForCode(t.ErrorCode)
			if !kerr.IsRetriable(err) {
				names = append(names, t.Topic)
			}
			if t.ErrorMessage != nil {
				err = errors.Join(err, errors.New(*t.ErrorMessage))
			}
			log.Warn("cannot create the topic a client asked for", "topic", t.Topic, "error", err)
		}
	}
	return names
}

// Fail implements wire.Sink: it is the client's request that has failed, not its connection.
func (c *autoCreation) Fail(_ *wire.Request, err error) {
	c.creator.log.Warn("cannot create the topics a client asked for", "topics", len(c.names), "error", err)
}

package api

import (
	"errors"
	"log/slog"
	"sync"

	"firn/broker/controller"
)

// maxAutoCreating bounds the topics that are being created because clients asked for them. What goes
// beyond is created when it is asked for again.
const maxAutoCreating = 1000

// autoCreator creates topics behind the answers that say they do not exist. Safe for concurrent use.
type autoCreator struct {
	controller Controller
	log        *slog.Logger

	mu struct {
		sync.Mutex
		creating map[string]bool
	}
}

func newAutoCreator(c Controller, log *slog.Logger) *autoCreator {
	a := &autoCreator{controller: c, log: log}
	a.mu.creating = map[string]bool{}
	return a
}

// create has topics created that nobody is creating yet, and does not wait for it.
func (a *autoCreator) create(names []string) {
	if len(names) == 0 {
		return
	}
	var topics []controller.NewTopic
	a.mu.Lock()
	for _, n := range names {
		if !a.mu.creating[n] && len(a.mu.creating) < maxAutoCreating {
			a.mu.creating[n] = true
			topics = append(topics, controller.NewTopic{Name: n, Partitions: -1, ReplicationFactor: -1})
		}
	}
	a.mu.Unlock()
	if len(topics) > 0 {
		go a.run(topics)
	}
}

func (a *autoCreator) run(topics []controller.NewTopic) {
	defer func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		for i := range topics {
			delete(a.mu.creating, topics[i].Name)
		}
	}()
	ctx, cancel := adminContext(int32(defaultAdminTimeout.Milliseconds()))
	defer cancel()
	for i, c := range a.controller.CreateTopics(ctx, topics, false) {
		switch {
		case c.Err == nil:
			a.log.Info("topic created because a client asked for it", "topic", topics[i].Name)
		case !errors.Is(c.Err, controller.ErrTopicExists):
			a.log.Warn("cannot create the topic a client asked for", "topic", topics[i].Name, "error", c.Err)
		}
	}
}

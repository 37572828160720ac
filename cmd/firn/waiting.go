package main

import (
	"context"
	"errors"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// waiting tells now and then what a command waits for. The client tries again without a word, and nobody likes
// a command that says nothing and does nothing. It is safe for concurrent use.
type waiting struct {
	app *app

	mu    sync.Mutex
	begun bool // until a cluster has answered, its silence is the command's error
	last  time.Time
}

var (
	_ kgo.HookBrokerConnect    = (*waiting)(nil)
	_ kgo.HookGroupManageError = (*waiting)(nil)
)

// tellEvery is how long a person may wonder.
const tellEvery = 10 * time.Second

func (w *waiting) begin() {
	w.mu.Lock()
	w.begun = true
	w.mu.Unlock()
}

// tell says what is wrong and that the command goes on, unless something was told just now.
func (w *waiting) tell(what string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.app.now()
	if !w.begun || !w.last.IsZero() && now.Sub(w.last) < tellEvery {
		return
	}
	w.last = now
	w.app.warn("%s: %v; trying again", what, brokerError(err, ""))
}

// OnBrokerConnect implements kgo.HookBrokerConnect.
func (w *waiting) OnBrokerConnect(meta kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	given := errors.Is(err, context.Canceled) || errors.Is(err, kgo.ErrClientClosed) // up, as nobody waits for it any more
	if err != nil && !given {
		w.tell("connect to "+net.JoinHostPort(meta.Host, strconv.Itoa(int(meta.Port))), err)
	}
}

// OnGroupManageError implements kgo.HookGroupManageError.
func (w *waiting) OnGroupManageError(err error) { w.tell("consumer group", err) }

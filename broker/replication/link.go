package replication

import (
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/wire"
)

// fetchVersion is the version that brokers use among each other: topic ids, and the follower's broker epoch.
const fetchVersion = 17

// link is one connection to a leader. One goroutine sends, another receives.
type link struct {
	conn    net.Conn
	format  *kmsg.RequestFormatter
	out     []byte
	timeout time.Duration
	answers chan answer
	reading sync.WaitGroup
}

// answer is one frame, or the error that ends the connection. Its receiver releases frame.
type answer struct {
	correlation int32
	frame       *wire.Buffer
	err         error
}

// newLink takes conn over. wait is how long a leader may keep a fetch.
func newLink(conn net.Conn, client string, wait, timeout time.Duration) *link {
	l := &link{
		conn: conn, timeout: timeout, answers: make(chan answer),
		format: kmsg.NewRequestFormatter(kmsg.FormatterClientID(client)),
	}
	l.reading.Go(func() { l.read(wait + timeout) })
	return l
}

// close ends the connection and waits until nothing comes from it any more.
func (l *link) close() {
	_ = l.conn.Close()
	for a := range l.answers {
		if a.frame != nil {
			a.frame.Release()
		}
	}
	l.reading.Wait()
}

func (l *link) send(req kmsg.Request, correlation int32) error {
	l.out = l.format.AppendRequest(l.out[:0], req, correlation)
	if err := l.conn.SetWriteDeadline(time.Now().Add(l.timeout)); err != nil {
		return err
	}
	_, err := l.conn.Write(l.out)
	return err
}

// read hands over frames as they come, the last with an error.
func (l *link) read(patience time.Duration) {
	defer close(l.answers)
	for {
		// There is always a fetch on its way, or the connection has nothing to fetch for and may as well end.
		err := l.conn.SetReadDeadline(time.Now().Add(patience))
		var a answer
		if err == nil {
			a.frame, a.correlation, err = wire.ReadAnswer(l.conn)
		}
		if err != nil {
			l.answers <- answer{err: err}
			return
		}
		l.answers <- a
	}
}

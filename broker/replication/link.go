package replication

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/wire"
)

const (
	// fetchVersion is the version that brokers use among each other: topic ids, and the follower's broker epoch.
	fetchVersion = 17
	// maxAnswer bounds an answer's frame: batches are smaller by far, whatever a topic allows.
	maxAnswer = 1 << 30
)

// errAnswer says that a leader has sent what is no answer to a fetch.
var errAnswer = errors.New("bad answer")

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
			a.frame, a.correlation, err = readFrame(l.conn)
		}
		if err != nil {
			l.answers <- answer{err: err}
			return
		}
		l.answers <- a
	}
}

// readFrame reads a frame into a pooled buffer, whose B is what follows the correlation id.
func readFrame(r io.Reader) (*wire.Buffer, int32, error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, 0, err
	}
	n := int(int32(binary.BigEndian.Uint32(head[:])))
	if n < 4 || n > maxAnswer {
		return nil, 0, fmt.Errorf("%w: frame of %d bytes", errAnswer, n)
	}
	buf := wire.NewBuffer(n - 4)
	if _, err := io.ReadFull(r, buf.B); err != nil {
		buf.Release()
		return nil, 0, err
	}
	return buf, int32(binary.BigEndian.Uint32(head[4:])), nil
}

// decodeFetch decodes an answer to a fetch. Its records alias the frame.
func decodeFetch(b []byte) (*kmsg.FetchResponse, error) {
	// The header's tagged fields: none is known.
	count, n := binary.Uvarint(b)
	if n <= 0 {
		return nil, fmt.Errorf("%w: no header", errAnswer)
	}
	b = b[n:]
	for range count {
		_, n := binary.Uvarint(b)
		if n <= 0 {
			return nil, fmt.Errorf("%w: header cut off", errAnswer)
		}
		size, m := binary.Uvarint(b[n:])
		if m <= 0 || size > uint64(len(b)-n-m) {
			return nil, fmt.Errorf("%w: header cut off", errAnswer)
		}
		b = b[n+m+int(size):]
	}
	resp := kmsg.NewPtrFetchResponse()
	resp.Version = fetchVersion
	if err := resp.UnsafeReadFrom(b); err != nil {
		return nil, fmt.Errorf("%w: %w", errAnswer, err)
	}
	return resp, nil
}

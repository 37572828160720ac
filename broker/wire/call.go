package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// maxAnswer bounds an answer's frame: batches are smaller by far, whatever a topic allows.
const maxAnswer = 1 << 30

// ErrAnswer is wrapped by every error about bytes that are no answer to what was asked.
var ErrAnswer = errors.New("bad answer")

// Call sends one request, whose version must be set, over a connection that has none under way, and returns the
// answer, which is of the request's kind and the caller's to keep. Deadlines are the caller's to set.
func Call(conn io.ReadWriter, client string, req kmsg.Request) (kmsg.Response, error) {
	if _, err := conn.Write(kmsg.NewRequestFormatter(kmsg.FormatterClientID(client)).AppendRequest(nil, req, 0)); err != nil {
		return nil, err
	}
	frame, correlation, err := ReadAnswer(conn)
	if err != nil {
		return nil, err
	}
	defer frame.Release()
	if correlation != 0 {
		return nil, fmt.Errorf("%w: correlation id %d", ErrAnswer, correlation)
	}
	resp := req.ResponseKind()
	body, err := answerBody(frame.B, resp)
	if err == nil {
		err = resp.ReadFrom(bytes.Clone(body)) // it copies strings, not bytes, and the frame is about to be another's
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	return resp, nil
}

// ReadAnswer reads a response's frame into a pooled buffer, which is the caller's to release. Its B is what follows the
// correlation id.
func ReadAnswer(r io.Reader) (frame *Buffer, correlation int32, err error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, 0, err
	}
	n := int(int32(binary.BigEndian.Uint32(head[:])))
	if n < 4 || n > maxAnswer {
		return nil, 0, fmt.Errorf("%w: frame of %d bytes", ErrAnswer, n)
	}
	buf := NewBuffer(n - 4)
	if _, err := readFull(r, buf.B); err != nil {
		buf.Release()
		return nil, 0, err
	}
	return buf, int32(binary.BigEndian.Uint32(head[4:])), nil
}

// DecodeAnswer decodes what ReadAnswer has read into resp, whose version must be set. The message aliases b.
func DecodeAnswer(b []byte, resp interface {
	kmsg.Response
	kmsg.UnsafeReadFrom
},
) error {
	body, err := answerBody(b, resp)
	if err == nil {
		err = resp.UnsafeReadFrom(body)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	return nil
}

// answerBody is what follows the header's tagged fields, of which none is known.
func answerBody(b []byte, resp kmsg.Response) ([]byte, error) {
	if !resp.IsFlexible() || resp.Key() == apiVersionsKey {
		return b, nil
	}
	return skipTags(b)
}

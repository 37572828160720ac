package wire

import (
	"bytes"
	"io"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// answering is a connection on which every request has the same answer.
type answering struct{ io.Reader }

func (answering) Write(p []byte) (int, error) { return len(p), nil }

// What a call has brought stays what it is while others take the memory that it came in.
func TestAnswersAreTheirCallersToKeep(t *testing.T) {
	want := bytes.Repeat([]byte("snow"), 300)
	answer := kmsg.NewPtrEnvelopeResponse()
	answer.ResponseData = want
	body := answer.AppendTo([]byte{0, 0, 0, 0, 0}) // the correlation id, and no tags
	frame := append([]byte{0, 0, byte(len(body) >> 8), byte(len(body))}, body...)
	resp, err := Call(answering{bytes.NewReader(frame)}, "test", kmsg.NewPtrEnvelopeRequest())
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		b := NewBuffer(len(body))
		clear(b.B)
		defer b.Release()
	}
	if got := resp.(*kmsg.EnvelopeResponse).ResponseData; !bytes.Equal(got, want) {
		t.Errorf("%.20q... of %d bytes", got, len(got))
	}
}

package api

import (
	"log/slog"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestApiVersionsListsWhatIsServed(t *testing.T) {
	a := New(Deps{Logger: slog.New(slog.DiscardHandler)})
	for v := int16(0); v <= 5; v++ {
		req := kmsg.NewPtrApiVersionsRequest()
		req.Version, req.ClientSoftwareName, req.ClientSoftwareVersion = v, "franz-go", "1.22.2"
		resp := call[*kmsg.ApiVersionsResponse](t, a, req)
		if resp.ErrorCode != 0 || len(resp.ApiKeys) != len(entries)-1 { // but Envelope
			t.Fatalf("v%d: code %d, %d keys, want %d", v, resp.ErrorCode, len(resp.ApiKeys), len(entries)-1)
		}
	}
}

// A franz-go newer than us opens with a version we do not know and must be able to read the answer.
func TestApiVersionsUnknownVersionIsAnsweredInFormOfV0(t *testing.T) {
	a := New(Deps{Logger: slog.New(slog.DiscardHandler)})
	req := kmsg.NewPtrApiVersionsRequest()
	req.Version = 6
	resp := call[*kmsg.ApiVersionsResponse](t, a, req)
	if resp.Version != 0 || resp.ErrorCode != kerr.UnsupportedVersion.Code || len(resp.ApiKeys) != len(entries)-1 { // but Envelope
		t.Fatalf("got v%d code %d, %d keys", resp.Version, resp.ErrorCode, len(resp.ApiKeys))
	}
}

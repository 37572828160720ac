package broker

import (
	"encoding/binary"
	"io"
	"net"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestRegistrationOver(t *testing.T) {
	for _, c := range []struct {
		name                         string
		others, answered, registered int
		long, want                   bool
	}{
		{"alone", 0, 0, 0, true, false},
		{"etcd is away for all", 2, 2, 2, true, false},
		{"one has seen it end", 2, 2, 1, false, true},
		{"both have", 2, 2, 0, false, true},
		{"the one that answers has it registered", 2, 1, 1, true, false},
		{"the one that answers has not", 2, 1, 0, false, true},
		{"nobody answers yet", 2, 0, 0, false, false},
		{"nobody answers for as long as a lease", 2, 0, 0, true, true},
	} {
		if got := registrationOver(c.others, c.answered, c.registered, c.long); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestAskBrokers(t *testing.T) {
	resp := kmsg.NewPtrMetadataResponse()
	resp.Version = 7
	for _, id := range []int32{1, 3} {
		b := kmsg.NewMetadataResponseBroker()
		b.NodeID, b.Host = id, "localhost"
		resp.Brokers = append(resp.Brokers, b)
	}
	whole := resp.AppendTo(make([]byte, 8))
	binary.BigEndian.PutUint32(whole, uint32(len(whole)-4))
	huge := binary.BigEndian.AppendUint32(nil, 1<<30)
	for name, c := range map[string]struct {
		answer []byte
		want   []int32
	}{
		"whole":    {whole, []int32{1, 3}},
		"cut":      {whole[:20], nil},
		"too long": {append(huge, whole...), nil},
		"garbage":  {[]byte{0, 0, 0, 6, 0, 0, 0, 0, 9, 9}, nil},
	} {
		here, there := net.Pipe()
		go func() {
			head := make([]byte, 4)
			if _, err := io.ReadFull(there, head); err == nil {
				_, _ = io.CopyN(io.Discard, there, int64(binary.BigEndian.Uint32(head)))
				_, _ = there.Write(c.answer)
			}
			_ = there.Close()
		}()
		got, err := askBrokers(here)
		if !slices.Equal(got, c.want) || (err == nil) != (c.want != nil) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
		_ = here.Close()
	}
}

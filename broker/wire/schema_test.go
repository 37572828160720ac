package wire

import (
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/wire/randmsg"
)

// Every version of every message we decode is walked to its last byte, and what is cut off anywhere
// is refused exactly where kmsg refuses it.
func TestWalkAgreesWithTheCodec(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	for _, s := range schemas {
		for v := range maxVersion(s.key) + 1 {
			for range 12 {
				req := kmsg.RequestForKey(s.key)
				req.SetVersion(v)
				randmsg.Fill(rng, req)
				if f := programs[s.key][v].flexible; f != req.IsFlexible() {
					t.Fatalf("%s v%d: flexible %v", kmsg.NameForKey(s.key), v, f)
				}
				checkWalk(t, req, req.AppendTo(nil))
			}
		}
	}
}

func checkWalk(t *testing.T, req kmsg.Request, b []byte) {
	t.Helper()
	p := &programs[req.Key()][req.GetVersion()]
	w := walker{rest: b, flexible: p.flexible}
	if err := w.steps(p.ops); err != nil || len(w.rest) != 0 {
		t.Fatalf("%s v%d: %v, %d of %d bytes left", kmsg.NameForKey(req.Key()), req.GetVersion(), err, len(w.rest), len(b))
	}
	for cut := 0; cut < len(b); cut += 1 + cut/16 {
		_, err := p.walk(b[:cut])
		again := kmsg.RequestForKey(req.Key())
		again.SetVersion(req.GetVersion())
		if kerr := again.ReadFrom(b[:cut]); (err == nil) != (kerr == nil) {
			t.Fatalf("%s v%d cut to %d of %d: walk says %v, kmsg %v", kmsg.NameForKey(req.Key()), req.GetVersion(), cut, len(b), err, kerr)
		}
	}
}

// allocated is what fn allocates in bytes.
func allocated(fn func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	fn()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func rawRequest(key, version int16, payload []byte) *Request {
	frame := binary.BigEndian.AppendUint16(nil, uint16(key))
	frame = binary.BigEndian.AppendUint16(frame, uint16(version))
	frame = append(frame, 0, 0, 0, 1, 0xff, 0xff)
	frame = append(frame, payload...)
	buf := NewBuffer(len(frame))
	copy(buf.B, frame)
	r, err := ParseRequest(&Conn{}, buf, nil, discard{})
	if err != nil {
		panic(err)
	}
	return r
}

type discard struct{}

func (discard) Deliver(_ *Request, b *Body) {
	if b != nil {
		b.Release()
	}
}
func (discard) Fail(*Request, error) {}

// Counts that the frame cannot hold must cost neither memory nor time.
func TestDecodeOfBombs(t *testing.T) {
	many := []byte{0x7f, 0xff, 0xff, 0xff}
	compact := []byte{0xff, 0xff, 0xff, 0xff, 0x0f}
	filler := make([]byte, 60<<10)
	tests := []struct {
		name         string
		key, version int16
		payload      []byte
	}{
		{"count without elements", 3, 1, many},
		{"compact count without elements", 3, 12, append([]byte{0}, compact...)},
		{"header tags", 3, 12, compact},
		{"tags of a struct", 3, 12, append([]byte{0, 1, 0, 0}, compact...)},
		{"count as many as bytes left, elements larger", 1, 4, append(append(make([]byte, 17), 0, 0, 0xee, 0), filler...)},
		{"nested counts", 0, 3, append([]byte{0xff, 0xff, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0xee, 0}, filler...)},
		{"negative string", 10, 0, []byte{0xff, 0xfe}},
		{"tags inside a tagged struct", 1, 15, append(append(make([]byte, 1+17), 1, 0, 0, 1, 1, 17), append(make([]byte, 12), compact...)...)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := rawRequest(tt.key, tt.version, tt.payload)
			var err error
			got := allocated(func() { err = r.Decode() })
			if err == nil || r.Body != nil {
				t.Error("decoded")
			}
			if got > 256<<10 {
				t.Errorf("allocated %d bytes for %d", got, len(tt.payload))
			}
			t.Log(err)
		})
	}
}

// A string is no longer than every version allows, as with Kafka's brokers: a name of many megabytes would have to be looked
// up for each of the hundred thousand partitions that may come with it.
func TestStringsHaveALimitInEveryVersion(t *testing.T) {
	for _, req := range []kmsg.Request{kmsg.NewPtrElectLeadersRequest(), kmsg.NewPtrFetchRequest()} {
		for length, want := range map[int]bool{math.MaxInt16: true, math.MaxInt16 + 1: false, 1 << 20: false} {
			name := strings.Repeat("n", length)
			switch req := req.(type) {
			case *kmsg.ElectLeadersRequest:
				req.Version, req.Topics = 2, []kmsg.ElectLeadersRequestTopic{{Topic: name, Partitions: []int32{0}}}
			case *kmsg.FetchRequest:
				req.Version, req.Topics = 12, []kmsg.FetchRequestTopic{{Topic: name}}
			}
			err := rawRequest(req.Key(), req.GetVersion(), req.AppendTo([]byte{0})).Decode()
			if (err == nil) != want || err != nil && !errors.Is(err, ErrMalformed) {
				t.Errorf("%s with a string of %d bytes: %v", kmsg.NameForKey(req.Key()), length, err)
			}
		}
	}
}

// What a whole and true frame decodes to is bounded too.
// A request that waits is not charged for, so little may be kept of it, whatever its client calls itself.
func TestLittleIsKeptOfALongClientID(t *testing.T) {
	name := strings.Repeat("n", math.MaxInt16)
	frame := kmsg.NewRequestFormatter(kmsg.FormatterClientID(name)).AppendRequest(nil, kmsg.NewPtrHeartbeatRequest(), 1)[4:]
	r, err := NewRequest(&Conn{}, frame, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(r.ClientID); n > maxClientID || r.ClientID != name[:n] || n < 255 {
		t.Errorf("%d bytes are kept", n)
	}
	if err := r.Decode(); err != nil {
		t.Errorf("what follows it: %v", err)
	}
}

func TestDecodeBoundsElements(t *testing.T) {
	n := maxDecoded/40 + 1
	payload := binary.BigEndian.AppendUint32(nil, uint32(n))
	payload = append(payload, make([]byte, 2*n)...)
	r := rawRequest(3, 1, payload)
	var err error
	if got := allocated(func() { err = r.Decode() }); err == nil || got > 1<<20 {
		t.Errorf("%v, allocated %d", err, got)
	}
}

// Numbers cost next to nothing to decode, but much where an answer has a struct for each.
func TestNumbersCountForWhatIsMadeOfThem(t *testing.T) {
	for n, want := range map[int]bool{maxDecoded/costEntry/2 + 1: true, maxDecoded/costEntry + 1: false} {
		payload := []byte{0, 0, 0, 0, 0, 1, 0, 0} // a group, and one topic of
		payload = binary.BigEndian.AppendUint32(payload, uint32(n))
		payload = append(payload, make([]byte, 4*n)...)
		if err := rawRequest(9, 1, payload).Decode(); (err == nil) != want {
			t.Errorf("%d partitions: %v", n, err)
		}
	}
}

// The estimate that is charged is at least what decoding takes.
func TestWalkCostIsWhatDecodingTakes(t *testing.T) {
	req := kmsg.NewPtrFetchRequest()
	req.Version = 4
	for range 1000 {
		topic := kmsg.NewFetchRequestTopic()
		topic.Topic = "t"
		topic.Partitions = append(topic.Partitions, kmsg.NewFetchRequestTopicPartition())
		req.Topics = append(req.Topics, topic)
	}
	b := req.AppendTo(nil)
	cost, err := programs[1][4].walk(b)
	if err != nil {
		t.Fatal(err)
	}
	cost -= 2000 * costEntry // which are for others
	got := uint64(math.MaxUint64)
	for range 5 { // of which what the runtime allocated meanwhile is in few
		again := kmsg.NewPtrFetchRequest()
		again.Version = 4
		got = min(got, allocated(func() { _ = again.UnsafeReadFrom(b) }))
	}
	if raced { // the race detector takes more
		got /= 3
	}
	if uint64(cost) < got*8/10 || uint64(cost) > 2*got {
		t.Errorf("walk says %d, decoding took %d", cost, got)
	}
}

func FuzzDecode(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, s := range schemas {
		for _, v := range []int16{0, maxVersion(s.key) / 2, maxVersion(s.key)} {
			req := kmsg.RequestForKey(s.key)
			req.SetVersion(v)
			randmsg.Fill(rng, req)
			b := req.AppendTo(nil)
			if req.IsFlexible() {
				b = append([]byte{0}, b...)
			}
			f.Add(s.key, v, b)
		}
	}
	f.Fuzz(func(t *testing.T, key, version int16, payload []byte) {
		r := rawRequest(key, version, payload)
		var err error
		got := allocated(func() { err = r.Decode() })
		if got > 64*uint64(len(payload))+256<<10 {
			t.Errorf("key %d v%d: allocated %d bytes for %d (%v)", key, version, got, len(payload), err)
		}
		if !r.Finished() {
			r.NoReply()
		}
	})
}

package bench

import (
	"fmt"
	"math/rand/v2"
	"strconv"
)

// Kinds of record values.
const (
	JSON   = "json"   // log lines, of which lz4 makes about a third
	Random = "random" // bytes that nothing makes smaller
)

// poolBytes is how much different data values are taken from: far more than a codec's window, so that
// repeating it gains a codec nothing.
const poolBytes = 16 << 20

// Values are record values made beforehand, so that making them costs a load nothing. They are read-only
// and safe for concurrent use.
type Values struct {
	Kind string
	Size int
	list [][]byte
}

// NewValues makes values of a kind with size bytes each.
func NewValues(kind string, size int, seed uint64) (*Values, error) {
	if size < stampLen {
		return nil, fmt.Errorf("values of %d bytes: want %d or more", size, stampLen)
	}
	rnd := rand.New(rand.NewPCG(seed, uint64(size)))
	var fill func(b []byte) []byte
	switch kind {
	case JSON:
		fill = func(b []byte) []byte { return logLine(b, size, rnd) }
	case Random:
		fill = func(b []byte) []byte {
			for len(b) < size {
				x := rnd.Uint64()
				for i := 0; i < 8 && len(b) < size; i++ {
					b = append(b, byte(x>>(8*i)))
				}
			}
			return b
		}
	default:
		return nil, fmt.Errorf("values %q: want %s or %s", kind, JSON, Random)
	}
	v := &Values{Kind: kind, Size: size, list: make([][]byte, max(poolBytes/size, 64))}
	for i := range v.list {
		v.list[i] = fill(make([]byte, 0, size))
	}
	return v, nil
}

// At returns the value of the record with number i.
func (v *Values) At(i int64) []byte { return v.list[i%int64(len(v.list))] }

// stampLen is how many bytes at the front of a value a latency load overwrites with its time.
const stampLen = 8

var (
	levels   = []string{"info", "info", "info", "debug", "warn", "error"}
	services = []string{"checkout", "search", "gateway", "billing", "inventory", "mailer"}
	paths    = []string{"/api/v1/items/", "/api/v1/orders/", "/healthz?probe=", "/static/app.js?v=", "/api/v2/users/"}
	agents   = []string{
		"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36",
		"curl/8.5.0", "Go-http-client/2.0", "kube-probe/1.30",
	}
	words = []string{
		"connection", "reset", "retry", "upstream", "timed", "out", "accepted", "cache", "miss", "hit", "flushed",
		"queue", "worker", "started", "finished", "request", "token", "renewed", "shard", "moved", "slow", "query",
	}
)

// logLine appends JSON lines of a web service until there are size bytes.
func logLine(b []byte, size int, rnd *rand.Rand) []byte {
	pick := func(list []string) string { return list[rnd.IntN(len(list))] }
	for len(b) < size {
		if len(b) > 0 {
			b = append(b, '\n')
		}
		b = append(b, `{"time":"2026-03-`...)
		b = fmt.Appendf(b, "%02dT%02d:%02d:%02d.%06dZ", 1+rnd.IntN(28), rnd.IntN(24), rnd.IntN(60), rnd.IntN(60), rnd.IntN(1e6))
		b = fmt.Appendf(b, `","level":%q,"service":%q,"host":"node-%d","trace":"%016x","method":"GET","path":"%s%d","status":%d,"ms":%d.%03d,"agent":%q,"msg":"`,
			pick(levels), pick(services), rnd.IntN(40), rnd.Uint64(), pick(paths), rnd.IntN(1e6), 200+rnd.IntN(5)*100, rnd.IntN(300), rnd.IntN(1000), pick(agents))
		for range 4 + rnd.IntN(12) {
			b = append(append(b, pick(words)...), ' ')
		}
		b = append(b, `","n":`...)
		b = append(strconv.AppendInt(b, rnd.Int64N(1e9), 10), '}')
	}
	return b[:size]
}

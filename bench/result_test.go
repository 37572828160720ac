package bench

import (
	"bytes"
	"math"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name   string
		rounds []float64
		limit  float64
		atMost bool
		value  float64
		pass   bool
	}{
		{"median, not mean", []float64{1, 1.4, 90}, 1.5, true, 1.4, true},
		{"even", []float64{1, 2}, 1.5, true, 1.5, true},
		{"above", []float64{1.6, 1.7, 1}, 1.5, true, 1.6, false},
		{"at least", []float64{0.8}, 0.8, false, 0.8, true},
		{"below", []float64{0.7}, 0.8, false, 0.7, false},
		{"nothing measured", nil, 1, true, 0, false},
		{"division by nothing", []float64{math.Inf(1)}, 0.8, false, 0, false},
		{"nothing by nothing", []float64{math.NaN()}, 1, true, 0, false},
	} {
		if got := newCheck(c.name, "", c.rounds, c.limit, c.atMost); got.Value != c.value || got.Pass != c.pass {
			t.Errorf("%s: %v %v, want %v %v", c.name, got.Value, got.Pass, c.value, c.pass)
		}
	}
}

func TestSectionText(t *testing.T) {
	s := &Section{Name: "fetch", Setting: "flush: relaxed"}
	s.figure("broker CPU", "s/GiB").add(0.2)
	s.figure("broker CPU", "s/GiB").add(0.4)
	s.figure("probe CPU", "s/GiB").add(0.1)
	s.figure("probe CPU", "s/GiB").add(0.2)
	s.compare("CPU, broker / probe", "broker CPU", "probe CPU", 1.5, true)
	s.compare("left out", "broker CPU", "nothing", 1, true)
	s.note("seen %d times", 2)
	var out bytes.Buffer
	if err := s.Text(&out); err != nil {
		t.Fatal(err)
	}
	want := `fetch
  flush: relaxed
  broker CPU           0.30 s/GiB  (0.20 to 0.40)
  probe CPU            0.15 s/GiB  (0.10 to 0.20)
  CPU, broker / probe  2.00        (2.00 to 2.00)  MISS, want at most 1.50
  seen 2 times

`
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
	if r := (&Report{Sections: []*Section{s}}); r.Missed() != 1 {
		t.Errorf("%d missed", r.Missed())
	}
}

func TestLatencies(t *testing.T) {
	l := newLatencies()
	for i := 1; i <= 1000; i++ {
		l.add(time.Duration(i) * time.Millisecond)
	}
	l.add(time.Hour) // counts as the most there is
	l.add(-time.Second)
	for p, want := range map[float64]float64{50: 500, 99: 990, 100: maxLatency.Seconds() * 1000} {
		if got := l.At(p); math.Abs(got-want) > want/200 {
			t.Errorf("p%v is %v ms, want %v", p, got, want)
		}
	}
}

func TestReadUsage(t *testing.T) {
	u, err := ReadUsage(os.Getpid())
	if err != nil && runtime.GOOS != "linux" {
		t.Skipf("no /proc here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if u.RSS < 1<<20 || u.PeakRSS < u.RSS {
		t.Errorf("%+v", u)
	}
	if _, err := ReadUsage(-1); err == nil {
		t.Error("a process that is not there has used something")
	}
}

func TestValues(t *testing.T) {
	if _, err := NewValues("xml", 100, 1); err == nil || !strings.Contains(err.Error(), "json") {
		t.Errorf("unknown kind: %v", err)
	}
	if _, err := NewValues(JSON, stampLen-1, 1); err == nil {
		t.Error("values without room for a stamp")
	}
	for _, kind := range []string{JSON, Random} {
		a, err := NewValues(kind, 333, 7)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := NewValues(kind, 333, 7)
		for i := range int64(100) {
			if len(a.At(i)) != 333 || !bytes.Equal(a.At(i), b.At(i)) {
				t.Fatalf("%s value %d: %q and %q", kind, i, a.At(i), b.At(i))
			}
		}
		if bytes.Equal(a.At(0), a.At(1)) {
			t.Errorf("%s values repeat", kind)
		}
	}
}

func TestParseBucket(t *testing.T) {
	for in, want := range map[string]Bucket{
		"minio://127.0.0.1:9000/b/x/y?tls=false": {Endpoint: "127.0.0.1:9000", Name: "b", Prefix: "x/y", Region: "us-east-1"},

		"minio://h:1/b": {Endpoint: "h:1", TLS: true, Name: "b", Region: "us-east-1"},

		"s3://b/p?endpoint=http://127.0.0.1:9000&region=eu&path-style": {Endpoint: "127.0.0.1:9000", Name: "b", Prefix: "p", Region: "eu"},
	} {
		if got, err := ParseBucket(in); err != nil || got != want {
			t.Errorf("%s: %+v %v, want %+v", in, got, err, want)
		}
	}
	for _, bad := range []string{"file:///x", "s3://b/p", "none", ":"} {
		if _, err := ParseBucket(bad); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestProduceConsume(t *testing.T) {
	tests := []struct {
		name, in, format, want string
		produce                []string
	}{
		{"lines", "a\nb\n\nc", `%v|`, "a|b||c|", nil},
		{"nothing", "", `%v|`, "", nil},
		{"carriage returns stay", "a\r\nb\r\n", `%v|`, "a\r|b\r|", nil},
		{"keys", "k:v\nno key\n:empty key\nk::two\n", `%k=%v|`, "k=v|=no key|=empty key|k=:two|", []string{"--key-separator", ":"}},
		{"long separator", "k=>v=>w\n", `%k %v|`, "k v=>w|", []string{"--key-separator", "=>"}},
		{"gzip", "x\ny\n", `%v|`, "x|y|", []string{"--compression", "gzip"}},
		{"snappy", "x\ny\n", `%v|`, "x|y|", []string{"--compression", "snappy"}},
		{"lz4", "x\ny\n", `%v|`, "x|y|", []string{"--compression", "lz4"}},
		{"zstd", "x\ny\n", `%v|`, "x|y|", []string{"--compression", "zstd"}},
		{"leader only", "x\ny\n", `%v|`, "x|y|", []string{"--acks", "1"}},
		{"unacknowledged", "x\ny\n", `%v|`, "x|y|", []string{"--acks", "0"}},
	}
	_, addr := fakeCluster(t)
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			name := fmt.Sprintf("t%d", i)
			firn(t, addr, "", "topic", "create", name, "--partitions", "1").ok(t)
			if out := firn(t, addr, tt.in, append([]string{"produce", name}, tt.produce...)...).ok(t); out != "" {
				t.Errorf("produce says %q", out)
			}
			count := []string{"-e"}
			if tt.name == "unacknowledged" { // they may still be under way
				count = []string{"--count", "2"}
			}
			if out := firn(t, addr, "", append([]string{"consume", name, "--format", tt.format}, count...)...).ok(t); out != tt.want {
				t.Errorf("got %q, want %q", out, tt.want)
			}
		})
	}
}

func TestProduceToPartition(t *testing.T) {
	_, addr := fakeCluster(t, kfake.SeedTopics(3, "t"))
	firn(t, addr, "a\nb\n", "produce", "t", "--partition", "2").ok(t)
	if out := firn(t, addr, "", "consume", "t", "-e", "--format", `%p%v `).ok(t); out != "2a 2b " {
		t.Errorf("got %q", out)
	}
	firn(t, addr, "a\n", "produce", "t", "--partition", "3").fails(t, exitError, "1 of 1 records were not delivered")
}

func TestProduceMany(t *testing.T) {
	const lines = 200_000
	_, addr := fakeCluster(t, kfake.SeedTopics(4, "t"))
	var in bytes.Buffer
	for i := range lines {
		fmt.Fprintf(&in, "%d line of a log that is about as long as lines of logs are\n", i)
	}
	firn(t, addr, in.String(), "produce", "t", "--compression", "lz4").ok(t)
	out := firn(t, addr, "", "consume", "t", "--exit").ok(t)
	seen := make([]bool, lines)
	sc := bufio.NewScanner(strings.NewReader(out))
	for sc.Scan() {
		var n int
		if _, err := fmt.Sscan(sc.Text(), &n); err != nil || seen[n] {
			t.Fatalf("line %q, %v, twice: %v", sc.Text(), err, err == nil)
		}
		seen[n] = true
	}
	for i, ok := range seen {
		if !ok {
			t.Fatalf("line %d is lost", i)
		}
	}
}

func TestProduceReportsFailures(t *testing.T) {
	c, addr := fakeCluster(t, kfake.SeedTopics(1, "t"))
	firn(t, addr, "a\nb\n", "produce", "t").ok(t)
	c.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		r := req.(*kmsg.ProduceRequest)
		resp := r.ResponseKind().(*kmsg.ProduceResponse)
		for _, topic := range r.Topics {
			rt := kmsg.NewProduceResponseTopic()
			rt.Topic, rt.TopicID = topic.Topic, topic.TopicID
			for _, p := range topic.Partitions {
				rp := kmsg.NewProduceResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p.Partition, kerr.PolicyViolation.Code
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	})
	r := firn(t, addr, strings.Repeat("x\n", 600), "produce", "t", "--acks", "1")
	r.fails(t, exitError, "600 of 600 records were not delivered")
	if !strings.Contains(r.err, "line 1: ") || !strings.Contains(r.err, "POLICY_VIOLATION") || strings.Count(r.err, "line ") != maxReported {
		t.Errorf("reported is %q", r.err)
	}
}

func TestProduceTooLarge(t *testing.T) {
	_, addr := fakeCluster(t)
	firn(t, addr, "", "topic", "create", "t", "--partitions", "1").ok(t)
	in := "small\n" + strings.Repeat("x", 2<<20) + "\nsmall too\n"
	r := firn(t, addr, in, "produce", "t")
	r.fails(t, exitError, "1 of 3 records were not delivered")
	if !strings.Contains(r.err, "line 2: ") {
		t.Errorf("reported is %q", r.err)
	}
	firn(t, addr, "", "topic", "alter", "t", "--config", "max.message.bytes=8388608").ok(t)
	firn(t, addr, in, "produce", "t").ok(t)
	if out := firn(t, addr, "", "consume", "t", "-e", "--from", "3").ok(t); len(out) != 2<<20+1+len("small too\n") {
		t.Errorf("%d bytes came back", len(out))
	}
}

func TestProduceInterrupted(t *testing.T) {
	_, addr := fakeCluster(t, kfake.SeedTopics(1, "t"))
	in, feed := io.Pipe()
	errOut := newSyncBuffer()
	stop := background(t, testApp(addr, in, newSyncBuffer(), errOut), "produce", "t")
	if _, err := io.WriteString(feed, "one\ntwo\nhal"); err != nil {
		t.Fatal(err)
	}
	if out := firn(t, addr, "", "consume", "t", "--count", "2").ok(t); out != "one\ntwo\n" {
		t.Errorf("lines are sent as %q before the input ends", out)
	}
	if code := stop(); code != exitError || !strings.Contains(errOut.String(), "interrupted") {
		t.Errorf("exit code %d, %q", code, errOut)
	}
	_ = feed.Close() // lets the read end
}

// ended reads nothing, and says when.
type ended chan struct{}

func (e ended) Read([]byte) (int, error) {
	close(e)
	return 0, io.EOF
}

// Records that nobody takes do not keep the command going when it is interrupted, also once all lines are read.
func TestProduceInterruptedWhileItWaits(t *testing.T) {
	t.Parallel()
	c, addr := fakeCluster(t, kfake.SeedTopics(1, "t"))
	tried := make(chan struct{})
	c.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		select {
		case tried <- struct{}{}:
		default:
		}
		r := req.(*kmsg.ProduceRequest)
		resp := r.ResponseKind().(*kmsg.ProduceResponse)
		for _, t := range r.Topics {
			rt := kmsg.NewProduceResponseTopic()
			rt.Topic, rt.TopicID = t.Topic, t.TopicID
			rp := kmsg.NewProduceResponseTopicPartition()
			rp.Partition, rp.ErrorCode = t.Partitions[0].Partition, kerr.NotEnoughReplicas.Code
			rt.Partitions = append(rt.Partitions, rp)
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	})
	read := make(ended)
	errOut := newSyncBuffer()
	stop := background(t, testApp(addr, io.MultiReader(strings.NewReader("a\n"), read), newSyncBuffer(), errOut), "produce", "t")
	<-read
	for range 2 {
		<-tried
	}
	if code := stop(); code != exitError || !strings.Contains(errOut.String(), "firn: interrupted\n") ||
		!strings.Contains(errOut.String(), "1 of 1 records were not delivered") {
		t.Errorf("exit code %d, %q", code, errOut)
	}
}

func TestReadLine(t *testing.T) {
	long := strings.Repeat("l", 3*slabBytes)
	in := bufio.NewReaderSize(strings.NewReader("a\n\n"+long+"\nb\n"+strings.Repeat("c", slabBytes-1)+"\nend"), slabBytes)
	var slab []byte
	var kept [][]byte
	for {
		line, rest, err := readLine(in, slab)
		if err != nil {
			break
		}
		kept, slab = append(kept, line), rest
	}
	want := []string{"a", "", long, "b", strings.Repeat("c", slabBytes-1), "end"}
	if len(kept) != len(want) {
		t.Fatalf("%d lines, want %d", len(kept), len(want))
	}
	for i := range want {
		if string(kept[i]) != want[i] {
			t.Errorf("line %d has %d bytes, want %d", i+1, len(kept[i]), len(want[i]))
		}
		_ = append(kept[i], "overwrites what follows"...)
	}
	if string(kept[3]) != "b" {
		t.Error("lines share memory")
	}
}

func TestReadLineIsBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("reads 64 MiB")
	}
	endless := bufio.NewReaderSize(io.LimitReader(zeros{}, maxLine+10<<20), slabBytes)
	if _, _, err := readLine(endless, nil); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("got %v", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func BenchmarkProduce(b *testing.B) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(4, "t"), kfake.BlackholeProduce())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	line := strings.Repeat("x", 127) + "\n"
	var in bytes.Buffer
	for range b.N {
		in.WriteString(line)
	}
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	b.ResetTimer()
	a := testApp(c.ListenAddrs()[0], &in, io.Discard, io.Discard)
	if code := run(context.Background(), a, []string{"produce", "t"}); code != exitOK {
		b.Fatal(code)
	}
}

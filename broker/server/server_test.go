package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"firn/broker/wire"
)

// shuffle answers what is parked in random order until n requests have been answered.
func shuffle(rng *rand.Rand, parked chan *wire.Request, n int) {
	for n > 0 {
		open := []*wire.Request{<-parked}
		for len(parked) > 0 {
			open = append(open, <-parked)
		}
		rng.Shuffle(len(open), func(i, j int) { open[i], open[j] = open[j], open[i] })
		for _, r := range open {
			switch rng.IntN(3) {
			case 0:
				echo(r)
			case 1:
				go echo(r)
			case 2:
				answer(r, wire.Bytes(make([]byte, rng.IntN(70_000))))
			}
		}
		n -= len(open)
	}
}

// Whatever order requests are answered in, the client sees them in its own.
func TestResponsesComeInTheOrderOfRequests(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	parked := make(chan *wire.Request, 1000)
	h := startTCP(t, Options{Handler: handlerFunc(func(r *wire.Request) { parked <- r })})
	defer h.stop()
	const conns, requests = 8, 300
	go shuffle(rand.New(rand.NewPCG(seed, 0)), parked, conns*requests)
	var clients sync.WaitGroup
	for g := range conns {
		c := h.dial()
		rng := rand.New(rand.NewPCG(seed, uint64(g)+1))
		clients.Go(func() {
			for i := range int32(requests) {
				if _, err := c.Write(request(i, rng.IntN(9000))); err != nil {
					t.Error(err)
					return
				}
			}
		})
		clients.Go(func() {
			defer c.Close()
			for i := range int32(requests) {
				if got, _, err := readResponse(c); err != nil || got != i {
					t.Errorf("got %d, %v where %d was due", got, err, i)
					return
				}
			}
		})
	}
	clients.Wait()
}

// A request without a response, as Produce with acks=0, holds nobody up and leaves no trace.
func TestNoReplyTakesNoPlace(t *testing.T) {
	h := startTCP(t, Options{MaxInFlight: 4, Handler: handlerFunc(func(r *wire.Request) {
		if r.CorrelationID%3 == 0 {
			echo(r)
		} else {
			r.NoReply()
		}
	})})
	defer h.stop()
	c := h.dial()
	defer c.Close()
	var all []byte
	for i := range int32(100) {
		all = append(all, request(i, 10)...)
	}
	send(t, c, all)
	for i := int32(0); i < 100; i += 3 {
		expect(t, c, i)
	}
}

// Parked requests do not stop later ones from being read, up to the cap.
func TestReaderStopsAtTheCapOfRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parked := make(chan *wire.Request, 100)
		h := startPipes(t, Options{MaxInFlight: 5, Handler: handlerFunc(func(r *wire.Request) { parked <- r })})
		c := h.dial()
		go func() {
			for i := range int32(20) {
				if _, err := c.Write(request(i, 2000)); err != nil {
					return
				}
			}
		}()
		synctest.Wait()
		if len(parked) != 5 {
			t.Fatalf("%d requests read", len(parked))
		}
		first, second := <-parked, <-parked
		echo(second) // out of turn: frees nothing, because it cannot be written yet
		synctest.Wait()
		if len(parked) != 3 {
			t.Fatalf("%d requests read after an answer out of turn", len(parked)+2)
		}
		go echo(first)
		expect(t, c, 0)
		expect(t, c, 1)
		synctest.Wait()
		if len(parked) != 5 {
			t.Fatalf("%d requests read after two answers", len(parked)+2)
		}
		c.Close()
		for len(parked) > 0 {
			echo(<-parked)
		}
		h.stop()
	})
}

// A client that does not take its responses is not read.
func TestReaderStopsAtTheCapOfResponses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		served := 0
		var extents []*extent
		h := startPipes(t, Options{MaxPendingBytes: 1 << 20, Handler: handlerFunc(func(r *wire.Request) {
			served++
			e := newExtent(300_000)
			extents = append(extents, e)
			answer(r, e)
		})})
		c := h.dial()
		go func() {
			for i := range int32(20) {
				if _, err := c.Write(request(i, 0)); err != nil {
					return
				}
			}
		}()
		synctest.Wait()
		if served != 4 {
			t.Fatalf("%d requests served", served)
		}
		for i := range int32(10) {
			expect(t, c, i)
			synctest.Wait()
			if ahead := served - int(i) - 1; ahead > 4 {
				t.Errorf("%d requests served beyond the responses taken", ahead)
			}
		}
		if served < 11 {
			t.Errorf("%d requests served after ten responses were taken", served)
		}
		c.Close()
		synctest.Wait()
		expectReleased(t, extents...)
		h.stop()
	})
}

// Many clients that take nothing hold one response each once all have enough, whatever one of them may have alone.
func TestResponsesOfManyClientsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size, limit, clients = 100_000, 1 << 20, 50
		h := startPipes(t, Options{MemoryBytes: limit, Handler: handlerFunc(func(r *wire.Request) { answer(r, wire.Bytes(make([]byte, size))) })})
		var conns []net.Conn
		for range clients {
			c := h.dial()
			conns = append(conns, c)
			go func() {
				for i := range int32(30) {
					if _, err := c.Write(request(i, 0)); err != nil {
						return
					}
				}
			}()
		}
		synctest.Wait()
		if n := h.srv.unwritten.Load(); n > limit+clients*(size+8<<10) {
			t.Errorf("%d bytes of responses are held", n)
		}
		for _, c := range conns[1:] {
			c.Close()
		}
		for i := range int32(30) { // the one that reads is served to its end
			expect(t, conns[0], i)
		}
		conns[0].Close()
		h.stop()
	})
}

// A client that takes nothing at all is given up after the idle time; one that takes a little is not.
func TestClientThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		h := startPipes(t, Options{Registerer: reg, IdleTimeout: 10 * time.Minute, Handler: handlerFunc(func(r *wire.Request) {
			answer(r, wire.Bytes(make([]byte, 1000)))
		})})
		c := h.dial()
		send(t, c, request(0, 0))
		for range 3 {
			<-time.After(9 * time.Minute)
			if _, err := io.ReadFull(c, make([]byte, 100)); err != nil {
				t.Fatal(err)
			}
		}
		<-time.After(11 * time.Minute)
		expectClosed(t, c)
		if n := testutil.ToFloat64(h.srv.met.closed.WithLabelValues("stalled_response")); n != 1 {
			t.Errorf("%v connections closed for it", n)
		}
		h.stop()
	})
}

// Where responses that nobody takes are in the way of others, patience ends earlier.
func TestClientThatDoesNotReadInTheWayOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startPipes(t, Options{MemoryBytes: 1000, Handler: handlerFunc(func(r *wire.Request) {
			answer(r, wire.Bytes(make([]byte, 5000)))
		})})
		c := h.dial()
		send(t, c, request(0, 0))
		<-time.After(time.Minute)
		expectClosed(t, c)
		h.stop()
	})
}

// So it does where somebody waits for what its responses hold.
func TestClientThatDoesNotReadWhatOthersWant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var wanted atomic.Bool
		h := startPipes(t, Options{Wanted: wanted.Load, Handler: handlerFunc(func(r *wire.Request) {
			answer(r, wire.Bytes(make([]byte, 5000)))
		})})
		c := h.dial()
		send(t, c, request(0, 0))
		<-time.After(2 * time.Minute)
		if n := h.srv.Connections(); n != 1 {
			t.Fatalf("%d connections while nobody wants the memory", n)
		}
		wanted.Store(true)
		<-time.After(time.Minute)
		expectClosed(t, c)
		h.stop()
	})
}

func TestIdleConnectionIsClosedUnlessARequestIsOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parked := make(chan *wire.Request, 1)
		h := startPipes(t, Options{IdleTimeout: time.Minute, Handler: handlerFunc(func(r *wire.Request) { parked <- r })})
		idle, waiting := h.dial(), h.dial()
		send(t, waiting, request(0, 0))
		<-time.After(time.Hour)
		synctest.Wait()
		if n := h.srv.Connections(); n != 1 {
			t.Fatalf("%d connections open", n)
		}
		expectClosed(t, idle)
		go echo(<-parked)
		expect(t, waiting, 0)
		<-time.After(time.Hour)
		synctest.Wait()
		expectClosed(t, waiting)
		h.stop()
	})
}

// A connection that may not be read, because as many of its requests are open as may be, does not tell that its client has
// gone. It does not stay for as long as the requests may wait.
func TestGoneClientWithAllRequestsOpenIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var parked []*wire.Request
		h := startPipes(t, Options{MaxInFlight: 2, IdleTimeout: time.Minute, Handler: handlerFunc(func(r *wire.Request) { parked = append(parked, r) })})
		gone, taking := h.dial(), h.dial()
		for i := range int32(2) {
			send(t, gone, request(i, 0))
			synctest.Wait()
		}
		gone.Close()
		for i := range int32(2) {
			send(t, taking, request(i, 0))
			synctest.Wait()
		}
		// The other is there, and takes a long response bit by bit.
		go answer(parked[2], newExtent(50))
		for range 50 {
			<-time.After(10 * time.Second)
			if _, err := taking.Read(make([]byte, 1)); err != nil {
				t.Fatalf("a response that is being taken: %v", err)
			}
		}
		if n := h.srv.Connections(); n != 1 {
			t.Errorf("%d connections open", n)
		}
		taking.Close()
		synctest.Wait()
		for _, i := range []int{0, 1, 3} {
			parked[i].NoReply()
		}
		h.stop()
	})
}

// A request may wait for longer than a connection may be idle, also one that came while others held too much memory: when they
// do not any more its client is listened to again.
func TestWaitingClientOutlastsOthersThatHoldTheMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var parked *wire.Request
		h := startPipes(t, Options{MemoryBytes: 100 << 10, IdleTimeout: time.Minute, Handler: handlerFunc(func(r *wire.Request) {
			if r.CorrelationID == 0 {
				answer(r, wire.Bytes(make([]byte, 200<<10)))
			} else {
				parked = r
			}
		})})
		slow, waiting := h.dial(), h.dial()
		send(t, slow, request(0, 0))
		synctest.Wait()
		send(t, waiting, request(1, 0))
		synctest.Wait()
		slow.Close()
		<-time.After(5 * time.Minute)
		if n := h.srv.Connections(); n != 1 {
			t.Errorf("%d connections open", n)
		}
		go echo(parked)
		expect(t, waiting, 1)
		waiting.Close()
		h.stop()
	})
}

func TestSlowFrameIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startPipes(t, Options{Handler: handlerFunc(echo)})
		c := h.dial()
		send(t, c, request(0, 1000)[:500])
		start := time.Now()
		expectClosedAt(t, c, start, 30*time.Second)
		h.stop()
	})
}

func expectClosedAt(t *testing.T, c net.Conn, start time.Time, want time.Duration) {
	t.Helper()
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Fatal("read something")
	}
	if d := time.Since(start); d < want*9/10 || d > want*11/10 {
		t.Fatalf("closed after %v, want %v", d, want)
	}
}

// What is not Kafka ends its own connection and nobody else's.
func TestGarbage(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	h := startTCP(t, Options{Handler: handlerFunc(func(r *wire.Request) {
		if err := r.Decode(); err != nil {
			r.Close(err)
			return
		}
		echo(r)
	})})
	defer h.stop()
	good := h.dial()
	defer good.Close()
	for i := range int32(200) {
		c := h.dial()
		b := make([]byte, 4+rng.IntN(300))
		for j := range b {
			b[j] = byte(rng.Uint32())
		}
		if i%2 == 0 { // a length that fits, so that the rest is looked at
			copy(b, []byte{0, 0, byte((len(b) - 4) >> 8), byte(len(b) - 4)})
		}
		send(t, c, b)
		send(t, good, request(i, 0))
		expect(t, good, i)
		c.Close()
	}
	for _, b := range []string{"GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00", "\x7f\xff\xff\xff", "\x00\x00\x00\x0a\x7f\x7f\x00\x00\x00\x00\x00\x00\xff\xff"} {
		c := h.dial()
		send(t, c, []byte(b))
		expectClosed(t, c)
		c.Close()
	}
}

// Thousands of connections that promise much and send little cost little. FIRN_SOAK makes it ten
// thousand.
func TestManyGarbageLengthsCostBoundedMemory(t *testing.T) {
	n := 400
	if os.Getenv("FIRN_SOAK") != "" {
		n = 9000 // both ends are files of this process
	}
	const memory = 4 << 20
	h := startTCP(t, Options{MemoryBytes: memory, Handler: handlerFunc(echo)})
	defer h.stop()
	good := h.dial()
	defer good.Close()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	conns := make([]net.Conn, n)
	for i := range conns {
		conns[i] = h.dial()
		head := []byte{0x05, 0xf5, 0xe1, byte(i)} // about 100 million
		if i%3 == 0 {
			head = append(head, make([]byte, 2000)...)
		}
		send(t, conns[i], head)
	}
	for i := range int32(50) {
		send(t, good, request(i, 3000))
		expect(t, good, i)
	}
	if used := h.srv.MemoryUsed(); used > memory+1<<20 {
		t.Errorf("%d bytes charged of %d", used, memory)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	perConn := (int64(after.HeapAlloc) + int64(after.StackInuse) - int64(before.HeapAlloc) - int64(before.StackInuse)) / int64(n)
	t.Logf("%d connections, %d bytes each", n, perConn)
	if perConn > 48<<10 {
		t.Errorf("%d bytes for each connection", perConn)
	}
	for _, c := range conns {
		c.Close()
	}
}

func TestTooManyConnectionsAreClosed(t *testing.T) {
	for _, opts := range []Options{{MaxConnections: 3}, {MaxConnectionsPerIP: 3}} {
		opts.Handler = handlerFunc(echo)
		h := startTCP(t, opts)
		var conns []net.Conn
		for i := range int32(3) {
			c := h.dial()
			send(t, c, request(i, 0))
			expect(t, c, i)
			conns = append(conns, c)
		}
		fourth := h.dial()
		expectClosed(t, fourth)
		fourth.Close()
		for _, c := range conns {
			c.Close()
		}
		h.stop()
	}
}

// Clients that have all the connections there are keep no broker out, nor the other way round.
func TestReservedListenerIsCountedApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startPipes(t, Options{Handler: handlerFunc(echo), MaxConnections: 2, Reserved: "BROKERS"})
		brokers, ended := newPipeListener(), make(chan error, 1)
		go func() { ended <- h.srv.Serve(brokers, "BROKERS") }()
		for range 2 { // what has gone makes room where it was
			var conns []net.Conn
			for _, dial := range []func() net.Conn{h.dial, brokers.dial} {
				for i := range int32(3) {
					c := dial()
					if conns = append(conns, c); i == 2 {
						expectClosed(t, c)
						continue
					}
					send(t, c, request(i, 0))
					expect(t, c, i)
				}
			}
			for _, c := range conns {
				c.Close()
			}
			synctest.Wait()
		}
		h.stop()
		if err := <-ended; !errors.Is(err, ErrStopped) {
			t.Errorf("serve: %v", err)
		}
	})
}

// A bug in one request must not take the others along.
func TestPanicEndsOneConnection(t *testing.T) {
	h := startTCP(t, Options{Handler: handlerFunc(func(r *wire.Request) {
		if r.CorrelationID == 13 {
			panic("thirteen")
		}
		echo(r)
	})})
	defer h.stop()
	bad, good := h.dial(), h.dial()
	defer bad.Close()
	defer good.Close()
	send(t, bad, request(13, 0))
	expectClosed(t, bad)
	send(t, good, request(1, 0))
	expect(t, good, 1)
	if n := testutil.ToFloat64(h.srv.met.panics); n != 1 {
		t.Errorf("%v panics counted", n)
	}
}

// A request that fails without a response closes the connection.
func TestCloseOfARequest(t *testing.T) {
	h := startTCP(t, Options{Handler: handlerFunc(func(r *wire.Request) { r.Close(errors.New("no such thing")) })})
	defer h.stop()
	c := h.dial()
	defer c.Close()
	send(t, c, request(1, 0))
	expectClosed(t, c)
}

// A request that closes its connection does so in its turn: what was asked before is answered, or a producer would send again
// what it was about to be told of.
func TestCloseOfARequestComesAfterEarlierAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parked := map[int32]*wire.Request{}
		h := startPipes(t, Options{Handler: handlerFunc(func(r *wire.Request) {
			if parked[r.CorrelationID] = r; r.CorrelationID == 2 {
				r.Close(errors.New("no answer could say it"))
			}
		})})
		c, forgotten := h.dial(), h.dial()
		for _, conn := range []net.Conn{c, forgotten} {
			for i := range int32(2) {
				send(t, conn, request(i, 0))
				synctest.Wait()
			}
			send(t, conn, append(request(2, 0), request(3, 0)...))
			synctest.Wait()
			if parked[3] != nil {
				t.Error("what comes after it is served")
			}
			if conn == forgotten {
				break
			}
			go echo(parked[1])
			go echo(parked[0])
			expect(t, c, 0)
			expect(t, c, 1)
			expectClosed(t, c)
			clear(parked)
		}
		// It does not wait for ever for what was asked before.
		<-time.After(time.Minute)
		expectClosed(t, forgotten)
		echo(parked[0])
		echo(parked[1])
		h.stop()
	})
}

// A connection that a request has closed is gone at once: those who connect again and again must not fill the memory with them.
func TestConnectionThatARequestHasClosedIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at weak.Pointer[wire.Conn]
		h := startPipes(t, Options{Handler: handlerFunc(func(r *wire.Request) {
			at = weak.Make(r.Conn)
			r.Close(errors.New("no answer could say it"))
		})})
		c := h.dial()
		send(t, c, request(0, 0))
		expectClosed(t, c)
		synctest.Wait()
		runtime.GC()
		if at.Value() != nil {
			t.Error("it is kept")
		}
		h.stop()
	})
}

// Answers to a client that has gone are released, whenever they come.
func TestAnswersToAGoneClientAreReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var parked []*wire.Request
		h := startPipes(t, Options{Handler: handlerFunc(func(r *wire.Request) { parked = append(parked, r) })})
		c := h.dial()
		for i := range int32(4) {
			send(t, c, request(i, 0))
		}
		synctest.Wait()
		extents := []*extent{newExtent(10), newExtent(100_000), newExtent(10), newExtent(10)}
		answer(parked[2], extents[2]) // before the end, out of turn
		answer(parked[0], extents[0]) // being written: nobody reads it
		synctest.Wait()
		c.Close()
		synctest.Wait()
		select {
		case <-parked[0].Conn.Context.Done():
		default:
			t.Error("the connection's context goes on")
		}
		answer(parked[1], extents[1])
		answer(parked[3], extents[3])
		expectReleased(t, extents...)
		h.stop()
	})
}

// Shutdown lets parked requests answer, writes what is answered, and takes nothing new.
func TestShutdownDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startPipes(t, Options{Handler: handlerFunc(func(r *wire.Request) {
			go func() {
				<-r.Conn.Stopping
				<-time.After(time.Second) // the answer takes its time
				echo(r)
			}()
		})})
		c, partial, idle := h.dial(), h.dial(), h.dial()
		send(t, c, request(1, 0))
		send(t, c, request(2, 0))
		send(t, partial, request(3, 1000)[:100])
		synctest.Wait()
		stopped := make(chan struct{})
		go func() { h.stop(); close(stopped) }()
		synctest.Wait()
		expect(t, c, 1)
		expect(t, c, 2)
		expectClosed(t, c)
		expectClosed(t, partial)
		expectClosed(t, idle)
		<-stopped
		expectClosed(t, h.dial())
	})
}

// What does not end in time is ended.
func TestShutdownEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parked := make(chan *wire.Request, 1)
		h := startPipes(t, Options{Handler: handlerFunc(func(r *wire.Request) { parked <- r })})
		c := h.dial()
		send(t, c, request(1, 0))
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := h.srv.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		expectClosed(t, c)
		echo(<-parked)
		if err := <-h.served; !errors.Is(err, ErrStopped) {
			t.Error(err)
		}
	})
}

// Every byte of a large response arrives, written from memory and in between smaller ones.
func TestLargeResponsesAmongSmall(t *testing.T) {
	content := make([]byte, 3<<20)
	for i := range content {
		content[i] = byte(i >> 3)
	}
	h := startTCP(t, Options{Handler: handlerFunc(func(r *wire.Request) {
		if r.CorrelationID%2 == 0 {
			echo(r)
		} else {
			answer(r, wire.Bytes(content))
		}
	})})
	defer h.stop()
	c := h.dial()
	defer c.Close()
	for i := range int32(10) {
		send(t, c, request(i, 0))
	}
	for i := range int32(10) {
		body := expect(t, c, i)
		if i%2 == 1 && !bytes.HasSuffix(body, content) {
			t.Errorf("response %d has other bytes", i)
		}
	}
}

func BenchmarkRequests(b *testing.B) {
	for _, size := range []int{50, 256 << 10} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			h := startTCP(b, Options{Handler: handlerFunc(echo)})
			defer h.stop()
			c := h.dial()
			defer c.Close()
			frame := requestBytes(size)
			b.SetBytes(int64(len(frame)))
			b.ReportAllocs()
			for b.Loop() {
				send(b, c, frame)
				expect(b, c, 1)
			}
		})
	}
}

// flakyListener fails to accept a few times before it does.
type flakyListener struct {
	*pipeListener
	errs chan error
}

func (l *flakyListener) Accept() (net.Conn, error) {
	select {
	case err := <-l.errs:
		return nil, err
	default:
		return l.pipeListener.Accept()
	}
}

// Too many open files are a reason to wait, not to stop.
func TestAcceptGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &flakyListener{pipeListener: newPipeListener(), errs: make(chan error, 20)}
		for range cap(l.errs) {
			l.errs <- &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
		}
		begin := time.Now()
		h := start(t, Options{Handler: handlerFunc(echo)}, l)
		client, server := net.Pipe()
		l.conns <- server
		if d := time.Since(begin); d < 10*time.Second || d > 30*time.Second {
			t.Errorf("20 failures took %v", d)
		}
		send(t, client, request(1, 0))
		expect(t, client, 1)
		client.Close()
		synctest.Wait()
		h.stop()
	})
}

// An error that will not go away ends Serve.
func TestAcceptEndsWithItsListener(t *testing.T) {
	l := &flakyListener{pipeListener: newPipeListener(), errs: make(chan error, 1)}
	l.errs <- errors.New("gone")
	srv, err := New(Options{Handler: handlerFunc(echo)})
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Serve(l, "PLAINTEXT"); err == nil || errors.Is(err, ErrStopped) {
		t.Errorf("got %v", err)
	}
	if err := srv.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := srv.Serve(newPipeListener(), "PLAINTEXT"); !errors.Is(err, ErrStopped) {
		t.Errorf("after the end: %v", err)
	}
}

package bench

import (
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/pierrec/lz4/v4"
	"golang.org/x/sync/errgroup"
)

// relay is what a broker cannot do without when it reads from a bucket: it gets the same ranges of the same
// objects, a few at a time, checks each block's CRC-32C, decodes it where it is compressed and writes it to
// whoever connects. Each connection gets everything once, in order.
type relay struct {
	Objects  objects
	Parallel int // GETs under way
}

// slot is a piece under way.
type slot struct {
	raw, stored []byte
	done        chan error
	n           int
}

func (r *relay) run(ctx context.Context, hello func(probeHello) error) error {
	pieces, err := r.Objects.pieces(ctx)
	if err != nil {
		return err
	}
	return listenAndServe(ctx, hello, func(ctx context.Context, ln net.Listener) error {
		return acceptAll(ctx, ln, func(conn net.Conn) error { return ignoreGone(r.pass(ctx, pieces, conn)) })
	})
}

// pass sends all pieces. At most Parallel slots of memory are in use.
func (r *relay) pass(ctx context.Context, pieces []piece, conn net.Conn) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	free, order := make(chan *slot, r.Parallel), make(chan *slot, r.Parallel)
	for range r.Parallel {
		free <- &slot{done: make(chan error, 1)}
	}
	go func() {
		defer close(order)
		for i := range pieces {
			var s *slot
			select {
			case s = <-free:
			case <-ctx.Done():
				return
			}
			order <- s // has room for every slot
			go func() { s.done <- r.fill(ctx, s, &pieces[i]) }()
		}
	}()
	for s := range order {
		if err := <-s.done; err != nil {
			return err
		}
		if _, err := conn.Write(s.raw[:s.n]); err != nil {
			return err
		}
		free <- s
	}
	return ctx.Err()
}

// fill gets, checks and decodes a piece.
func (r *relay) fill(ctx context.Context, s *slot, p *piece) error {
	s.n = p.raw
	if cap(s.raw) < p.raw {
		s.raw = make([]byte, max(p.raw, pieceRaw))
	}
	stored := s.raw[:p.raw]
	if p.size != p.raw {
		if cap(s.stored) < p.size {
			s.stored = make([]byte, max(p.size, pieceRaw))
		}
		stored = s.stored[:p.size]
	}
	if err := r.Objects.get(ctx, p.url, p.pos, stored); err != nil {
		return err
	}
	in, out := 0, 0
	for _, b := range p.blocks {
		block := stored[in : in+int(b.Len)]
		if got := crc32.Checksum(block, castagnoli); got != b.CRC {
			return fmt.Errorf("block at %d has checksum %08x, want %08x", b.Pos, got, b.CRC)
		}
		if p.size != p.raw {
			if b.Len == b.RawLen {
				copy(s.raw[out:], block)
			} else if n, err := lz4.UncompressBlock(block, s.raw[out:out+int(b.RawLen)]); err != nil || n != int(b.RawLen) {
				return fmt.Errorf("block at %d: %d of %d bytes, %w", b.Pos, n, b.RawLen, err)
			}
		}
		in, out = in+int(b.Len), out+int(b.RawLen)
	}
	return nil
}

// getter only gets the pieces.
type getter struct {
	Objects  objects
	Parallel int
}

func (g *getter) run(ctx context.Context, hello func(probeHello) error) error {
	pieces, err := g.Objects.pieces(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	var next, bytes atomic.Int64
	eg, ctx := errgroup.WithContext(ctx)
	for range g.Parallel {
		eg.Go(func() error {
			buf := make([]byte, 1<<20)
			for i := next.Add(1) - 1; i < int64(len(pieces)); i = next.Add(1) - 1 {
				body, err := g.Objects.open(ctx, pieces[i].url, pieces[i].pos, pieces[i].size)
				if err != nil {
					return err
				}
				n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{body}, buf)
				_ = body.Close()
				if err != nil {
					return err
				}
				bytes.Add(n)
			}
			return nil
		})
	}
	if err := eg.Wait(); err != nil {
		return err
	}
	return hello(probeHello{Bytes: bytes.Load(), Seconds: time.Since(began).Seconds()})
}

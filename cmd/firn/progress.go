package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// progress shows how far long work has come, on a terminal. A nil progress shows nothing.
type progress struct {
	out   io.Writer
	what  string
	total int64 // 0 is not known
	unit  func(int64) string
	done  atomic.Int64
	began time.Time
	now   func() time.Time
	width func() int // columns of the terminal, 0 if that is not known

	stopOnce sync.Once
	quit     chan struct{}
	wait     sync.WaitGroup
}

const (
	progressEvery = 200 * time.Millisecond
	progressWidth = 30
)

// newProgress begins to show progress on the standard error, or returns nil if that is no terminal.
func (a *app) newProgress(what string, total int64, unit func(int64) string) *progress {
	if !isTerminal(a.errOut) {
		return nil
	}
	p := &progress{
		out: a.errOut, what: what, total: total, unit: unit, began: a.now(), now: a.now,
		width: func() int { return terminalWidth(a.errOut) }, quit: make(chan struct{}),
	}
	p.wait.Add(1)
	go p.run()
	return p
}

func (p *progress) run() {
	defer p.wait.Done()
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		select {
		case <-p.quit:
			_, _ = fmt.Fprint(p.out, "\r\x1b[K")
			return
		case <-tick.C:
			_, _ = fmt.Fprint(p.out, "\r", p.line(p.width()), "\x1b[K")
		}
	}
}

// add counts work as done. It is safe for concurrent use.
func (p *progress) add(n int64) {
	if p != nil {
		p.done.Add(n)
	}
}

// stop wipes the bar off.
func (p *progress) stop() {
	if p == nil {
		return
	}
	p.stopOnce.Do(func() { close(p.quit) })
	p.wait.Wait()
}

// line is what the bar looks like now. It fits into width columns, since a line that a terminal breaks is not
// wiped off by the next one; 0 is no limit.
func (p *progress) line(width int) string {
	bar, text := p.parts()
	line := bar + text
	if width > 0 && len(line) >= width {
		line = text[:min(len(text), width-1)]
	}
	return line
}

// parts are the bar itself, if it is known how much there is to do, and the figures beside it.
func (p *progress) parts() (bar, text string) {
	done, elapsed := p.done.Load(), p.now().Sub(p.began)
	rate := float64(done) / max(elapsed.Seconds(), 0.001)
	if p.total <= 0 {
		return "", fmt.Sprintf("%s %s, %s/s", p.what, p.unit(done), p.unit(int64(rate)))
	}
	part := min(max(float64(done)/float64(p.total), 0), 1)
	full := int(part * progressWidth)
	bar = "[" + strings.Repeat("#", full) + strings.Repeat(".", progressWidth-full) + "] "
	left := ""
	if rate > 0 && part < 1 {
		left = ", " + time.Duration(float64(p.total-done)/rate*float64(time.Second)).Round(time.Second).String() + " left"
	}
	return bar, fmt.Sprintf("%3.0f%% %s of %s, %s/s%s", part*100, p.unit(done), p.unit(p.total), p.unit(int64(rate)), left)
}

// countUnit writes a number of records.
func countUnit(n int64) string { return fmt.Sprint(n) }

package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// foreignStart is how long a program of another language gets to begin to send.
const foreignStart = 4 * time.Second

// paceCommand has a program of broker/compat, which takes a command a line, send a record to each of N partitions every
// Millis for Time, in milliseconds, none before the last is acked.
type paceCommand struct {
	Op     string `json:"op"`
	Topic  string `json:"topic"`
	N      int    `json:"n"`
	Millis int64  `json:"ms"`
	Time   int64  `json:"t"`
}

// paceAnswer says when the longest wait of each partition ended, in milliseconds since 1970.
type paceAnswer struct {
	Error string  `json:"error"`
	Ended []int64 `json:"ended"`
}

// foreign is such a program under way.
type foreign struct {
	name string
	cmd  *exec.Cmd
	in   io.Closer
	out  *bufio.Reader
}

// startForeign starts the program of a command line, with the brokers behind it, and gives it its command.
func startForeign(ctx context.Context, name, line string, c *paceCommand, brokers Cluster) (*foreign, error) {
	words := append(strings.Fields(line), brokers.Bootstrap)
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	f := &foreign{name: name, cmd: cmd, in: in, out: bufio.NewReader(out)}
	if err := json.NewEncoder(in).Encode(c); err != nil {
		f.kill()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return f, nil
}

// last waits for the answer and returns when the last of the longest waits ended.
func (f *foreign) last() (time.Time, error) {
	line, err := f.out.ReadBytes('\n')
	var a paceAnswer
	if err == nil {
		err = json.Unmarshal(line, &a)
	}
	if err == nil && a.Error != "" {
		err = errors.New(a.Error)
	}
	if err == nil && len(a.Ended) == 0 {
		err = errors.New("no partitions")
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("%s: %w", f.name, err)
	}
	return time.UnixMilli(slices.Max(a.Ended)), nil
}

// kill ends the program.
func (f *foreign) kill() {
	_ = f.in.Close()
	_ = f.cmd.Process.Kill()
	_ = f.cmd.Wait()
}

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

type consumeOptions struct {
	topic      string
	from       position
	until      position
	bounded    bool // until is meant
	partitions []int32
	count      int64 // unlimited is no limit
	group      string
	format     appender
}

// consumeFlags are the flags as given.
type consumeFlags struct {
	from, until, format, group string
	partitions                 []int
	count                      int64
	exit                       bool
}

func newConsume(a *app) *cobra.Command {
	var c *client
	var f consumeFlags
	cmd := &cobra.Command{
		Use:   "consume TOPIC",
		Short: "Write a topic's records to the standard output",
		Long: `Write records to the standard output as they come, for ever, or to the end with --exit, up to
--until, or --count of them. Records of one partition come in order.

A position is earliest, latest, an offset, @ and a time (2006-01-02T15:04:05Z, a date, or
milliseconds), or a time ago as -2h or -7d. A time means the first record of that time or later.
--until is the first record that is not written; with a time to come it waits for that time.

With --group the group's committed offsets say where to begin, --from counts only where there is
none, and what was written is committed.

` + formatHelp,
		Example: `  firn consume logs --from earliest --exit
  firn consume logs --from -2h --until -1h
  firn consume logs --from @2026-03-01T12:00:00Z --count 10 --format '%D %p:%o %k %v\n'
  firn consume logs --group readers --format json`,
		Args: oneTopic,
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, name := range []string{"group", "until"} {
				if cmd.Flags().Changed(name) && cmd.Flags().Lookup(name).Value.String() == "" {
					return usagef("--%s must not be empty", name)
				}
			}
			if !cmd.Flags().Changed("count") {
				f.count = unlimited
			} else if f.count < 0 {
				return usagef("--count %d: want 0 or more", f.count)
			}
			o, err := f.options(args[0], a.now())
			if err != nil {
				return err
			}
			return a.consume(cmd.Context(), c, o)
		},
	}
	c = clientFlags(a, cmd)
	fs := cmd.Flags()
	fs.StringVar(&f.from, "from", "earliest", "`POSITION` to begin at")
	fs.StringVar(&f.until, "until", "", "`POSITION` to stop before")
	fs.BoolVarP(&f.exit, "exit", "e", false, "stop at the end of the topic, as it is now")
	fs.IntSliceVar(&f.partitions, "partition", nil, "only the partition `N`, or several with commas between")
	fs.Int64Var(&f.count, "count", 0, "stop after `N` records")
	fs.StringVar(&f.group, "group", "", "consume as a member of the consumer group `G`")
	fs.StringVar(&f.format, "format", `%v\n`, "`FORMAT` of a record (default %v\\n)")
	fs.Lookup("format").DefValue = "" // would be shown in Go's quotes
	return cmd
}

// unlimited is a count that is never reached.
const unlimited = -1

// options reads what the flags mean at now.
func (f consumeFlags) options(topic string, now time.Time) (o consumeOptions, err error) {
	o = consumeOptions{topic: topic, group: f.group, count: f.count}
	if f.exit {
		if f.until != "" && f.until != "latest" {
			return o, usagef("--exit and --until exclude each other")
		}
		f.until = "latest"
	}
	if o.from, err = parsePosition("from", f.from, now); err != nil {
		return o, err
	}
	if o.bounded = f.until != ""; o.bounded {
		if o.until, err = parsePosition("until", f.until, now); err != nil {
			return o, err
		}
	}
	for _, p := range f.partitions {
		if p < 0 || p > math.MaxInt32 {
			return o, usagef("--partition %d: want 0 or more", p)
		}
		o.partitions = append(o.partitions, int32(p))
	}
	if len(o.partitions) > 0 && f.group != "" {
		return o, usagef("--partition and --group exclude each other: a group shares out all partitions")
	}
	o.format, err = parseFormat(f.format)
	return o, err
}

// outputBuffer is large, so that a replay is written in few system calls.
const outputBuffer = 1 << 20

// consume runs one consume command. Being interrupted is its normal end.
func (a *app) consume(ctx context.Context, c *client, o consumeOptions) error {
	if o.count == 0 {
		return nil
	}
	r := &reader{app: a, opts: o, waiting: c.waiting, wake: func() {}, parts: map[int32]*part{}}
	opts := []kgo.Opt{
		kgo.FetchMaxPartitionBytes(4 << 20),
		kgo.KeepControlRecords(), // they may be the last ones before the end
		kgo.KeepRetryableFetchErrors(),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
	}
	if o.group != "" {
		opts = append(opts, r.groupOpts()...)
	}
	clientCtx, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()
	cl, err := c.dial(ctx, append(opts, kgo.WithContext(clientCtx))...)
	if err != nil {
		return quietly(ctx, err)
	}
	defer cl.Close()
	r.abort = abort
	r.cl, r.adm = cl, kadm.NewClient(cl)
	planned, cancel := context.WithCancel(ctx) // what plan leaves running ends with the command
	defer cancel()
	if err := r.plan(planned); err != nil {
		return quietly(ctx, err)
	}
	r.out = bufio.NewWriterSize(a.out, outputBuffer)
	r.bar = r.progress()
	err = r.run(ctx)
	r.bar.stop()
	err = errors.Join(quietly(ctx, err), r.finish(ctx))
	if full := r.flush(); full != nil {
		return full // which is why all else failed
	}
	return err
}

// quietly forgets an error that comes of being interrupted.
func quietly(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// pollRecords bounds how many records are taken at a time, so that a group's commits keep up.
const pollRecords = 20_000

// run writes records until there is nothing left to write or ctx ends.
func (r *reader) run(ctx context.Context) error {
	lastCommit := r.app.now()
	for !r.finished() {
		pollCtx, cancel := context.WithCancel(ctx)
		r.onWake(cancel)
		if r.finished() { // what woke us may have come before
			cancel()
			break
		}
		fetches := r.cl.PollRecords(pollCtx, pollRecords)
		cancel()
		if ctx.Err() != nil {
			return nil
		}
		if err := r.write(fetches); err != nil {
			return err
		}
		idle := r.cl.BufferedFetchRecords() == 0
		if idle {
			if err := r.flush(); err != nil {
				return err
			}
		}
		if r.opts.group != "" {
			if now := r.app.now(); idle || now.Sub(lastCommit) > commitEvery {
				if err := r.commit(ctx); err != nil {
					return err
				}
				lastCommit = now
			}
			r.cl.AllowRebalance()
		}
	}
	return nil
}

// refusalsTold is how long fetches are refused before it is worth a word: a change of leaders takes less.
const refusalsTold = 3 * time.Second

// refused decides about an error that a fetch came back with: whether it is one of the command, or one that the
// client tries again after.
func (r *reader) refused(e kgo.FetchError) error {
	if !kerr.IsRetriable(e.Err) {
		return e.Err
	}
	now := r.app.now()
	if now.Sub(r.refusals.last) > 10*refusalsTold {
		r.refusals.since = time.Time{}
	}
	r.refusals.last = now
	switch {
	case r.refusals.since.IsZero():
		r.refusals.since = now
	case now.Sub(r.refusals.since) < refusalsTold:
	case errors.Is(e.Err, kerr.UnknownTopicID): // the topic was deleted, and what has its name now is another one
		return e.Err
	default:
		r.waiting.tell(fmt.Sprintf("fetch %s-%d", e.Topic, e.Partition), e.Err)
	}
	return nil
}

// commitEvery bounds how much a group reads twice after a crash, while it reads without a pause.
const commitEvery = time.Second

// write writes what was polled, up to the bounds.
func (r *reader) write(fetches kgo.Fetches) error {
	for _, e := range fetches.Errors() {
		if errors.Is(e.Err, context.Canceled) {
			continue // woken
		}
		if err := r.refused(e); err != nil {
			return fmt.Errorf("fetch %s-%d: %w", e.Topic, e.Partition, brokerError(err, ""))
		}
	}
	r.io.Lock()
	defer r.io.Unlock()
	for it := fetches.RecordIter(); !it.Done(); {
		r.refusals.since = time.Time{}
		rec := it.Next()
		want, full := r.take(rec)
		if full {
			return nil
		}
		if !want {
			continue
		}
		r.line = r.opts.format(r.line[:0], rec)
		if _, err := r.out.Write(r.line); err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
	return nil
}

// finish writes and commits what is left, even if the command was interrupted.
func (r *reader) finish(ctx context.Context) error {
	if r.opts.group == "" {
		return r.flush()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reachTimeout)
	defer cancel()
	defer context.AfterFunc(ctx, r.abort)() // or a coordinator that is away would be looked for until the client gives up
	err := r.commit(ctx)                    // having flushed
	r.cl.AllowRebalance()
	r.cl.LeaveGroup()
	return err
}

// checkPartitions reports a wanted partition that the topic does not have.
func checkPartitions(name string, have, want []int32) error {
	for _, p := range want {
		if !slices.Contains(have, p) {
			return fmt.Errorf("topic %s has no partition %d, but %s", name, p, joinInts(have))
		}
	}
	return nil
}

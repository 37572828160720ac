package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

type produceOptions struct {
	topic        string
	keySeparator string
	partition    int32 // -1: by key, or spread
	acks         string
	compression  string
}

func newProduce(a *app) *cobra.Command {
	var c *client
	var o produceOptions
	cmd := &cobra.Command{
		Use:   "produce TOPIC",
		Short: "Send lines from the standard input to a topic",
		Long: `Send each line of the standard input as one record, without its newline. With --key-separator
what stands before the first separator is the record's key; a line without it has no key.

Every record is waited for. If one is not delivered its line number is reported and the exit code
is 1.`,
		Example: `  echo hello | firn produce logs
  firn produce logs < /var/log/syslog
  printf 'user1:login\nuser2:logout\n' | firn produce events --key-separator :`,
		Args: oneTopic,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.topic = args[0]
			if cmd.Flags().Changed("partition") && o.partition < 0 {
				return usagef("--partition %d: want 0 or more", o.partition)
			}
			if cmd.Flags().Changed("key-separator") && o.keySeparator == "" {
				return usagef("--key-separator must not be empty")
			}
			opts, err := o.clientOpts()
			if err != nil {
				return err
			}
			return a.produce(cmd.Context(), c, o, opts)
		},
	}
	c = clientFlags(a, cmd)
	f := cmd.Flags()
	f.StringVar(&o.keySeparator, "key-separator", "", "`TEXT` between a line's key and value")
	f.Int32Var(&o.partition, "partition", -1, "send to the partition `N` (default by the key, or spread)")
	f.Lookup("partition").DefValue = "0" // which is not shown
	f.StringVar(&o.acks, "acks", "all", "what counts as delivered, `ACKS`: all in-sync replicas have it, 1 (the leader has it) or 0 (it was sent)")
	f.StringVar(&o.compression, "compression", "none", "`CODEC`: none, gzip, snappy, lz4 or zstd")
	return cmd
}

const (
	// maxBufferedBytes bounds what is read ahead of the broker.
	maxBufferedBytes = 128 << 20
	// deliveryTimeout is how long a record may take, as in Kafka's own clients.
	deliveryTimeout = 2 * time.Minute
)

func (o *produceOptions) clientOpts() ([]kgo.Opt, error) {
	opts := []kgo.Opt{
		kgo.DefaultProduceTopic(o.topic),
		kgo.AllowAutoTopicCreation(),
		kgo.MaxBufferedRecords(200_000),
		kgo.MaxBufferedBytes(maxBufferedBytes),
		kgo.RecordDeliveryTimeout(deliveryTimeout),
	}
	switch o.acks {
	case "all", "-1":
	case "1":
		opts = append(opts, kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite())
	case "0":
		opts = append(opts, kgo.RequiredAcks(kgo.NoAck()), kgo.DisableIdempotentWrite())
	default:
		return nil, usagef("--acks %q: want all, 1 or 0", o.acks)
	}
	codec, ok := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}[o.compression]
	if !ok {
		return nil, usagef("--compression %q: want none, gzip, snappy, lz4 or zstd", o.compression)
	}
	opts = append(opts, kgo.ProducerBatchCompression(codec))
	if o.partition >= 0 {
		opts = append(opts, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	}
	return opts, nil
}

// produce runs one produce command.
func (a *app) produce(ctx context.Context, c *client, o produceOptions, opts []kgo.Opt) error {
	limit, err := c.batchLimit(ctx, o.topic)
	if err != nil {
		return err
	}
	cl, err := c.dial(ctx, append(opts, kgo.ProducerBatchMaxBytes(limit))...)
	if err != nil {
		return err
	}
	defer cl.Close()
	s := &sender{app: a, cl: cl, opts: o, bar: a.produceBar()}
	read := make(chan error, 1)
	go func() { read <- s.send(ctx) }()
	select {
	case err = <-read:
	case <-ctx.Done(): // the read may hang for as long as nobody types
		err = errInterrupted
	}
	flushCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(reachTimeout, cancel) })() // interrupted, it does not wait for ever
	if cl.Flush(flushCtx) != nil && err == nil {
		err = errInterrupted
	}
	s.bar.stop()
	return errors.Join(err, s.result())
}

// defaultBatchLimit is Kafka's default for the size of a batch less what surrounds it.
const defaultBatchLimit = 1_000_012

// batchLimit is the largest batch the topic takes, or the usual one if the cluster does not say.
func (c *client) batchLimit(ctx context.Context, name string) (int32, error) {
	adm, done, err := c.admin(ctx)
	if err != nil {
		return 0, err
	}
	defer done()
	list, err := adm.DescribeTopicConfigs(ctx, name)
	if err != nil {
		return defaultBatchLimit, nil //nolint:nilerr // a cluster that does not tell still takes records
	}
	r, err := list.On(name, nil)
	if err != nil || r.Err != nil {
		return defaultBatchLimit, nil //nolint:nilerr // the topic may not exist yet
	}
	return limitOf(r), nil
}

func limitOf(r kadm.ResourceConfig) int32 {
	for _, cfg := range r.Configs {
		var n int32
		if cfg.Key == "max.message.bytes" {
			if _, err := fmt.Sscan(cfg.MaybeValue(), &n); err == nil && n >= 1024 {
				return min(n, maxBufferedBytes/2)
			}
		}
	}
	return defaultBatchLimit
}

// produceBar shows progress unless somebody types the records.
func (a *app) produceBar() *progress {
	if isTerminal(a.in) {
		return nil
	}
	return a.newProgress("sent", inputSize(a.in), humanBytes)
}

// inputSize is how many bytes are to come, 0 if that is not known.
func inputSize(in any) int64 {
	f, ok := in.(*os.File)
	if !ok {
		return 0
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return 0
	}
	return info.Size()
}

// splitKey cuts a line into its key and value.
func splitKey(line []byte, separator string) (key, value []byte) {
	if separator == "" {
		return nil, line
	}
	i := bytes.Index(line, []byte(separator))
	if i < 0 {
		return nil, line
	}
	return line[:i:i], line[i+len(separator):]
}

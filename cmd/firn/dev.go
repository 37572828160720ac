package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"firn/broker"
	"firn/metadata/topic"
)

type devOptions struct {
	data, listen, http, tier string
	topics                   []string
	settings                 settingFlags
}

func newDev(a *app) *cobra.Command {
	var o devOptions
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a whole Firn in one process",
		Long: `Run a broker with everything it needs in one process and one directory: etcd, and a
directory as object storage. Topics are made when they are first used. Ctrl-C stops it, and
started again it has everything it had.`,
		Example: `  firn dev
  firn dev --data /tmp/firn --topic logs:3
  firn dev --tier 's3://bucket/prefix?endpoint=http://127.0.0.1:9000&region=us-east-1&path-style=true'
  firn dev --listen 127.0.0.1:9192 --http 127.0.0.1:9744 --data /tmp/second`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.dev(cmd, o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.data, "data", a.dataDir(), "`DIR` for all data; also FIRN_DATA")
	f.StringVar(&o.listen, "listen", "127.0.0.1:9092", "`HOST:PORT` for clients")
	f.StringVar(&o.http, "http", "127.0.0.1:9644", "`HOST:PORT` for metrics, health and profiles, or none")
	f.StringVar(&o.tier, "tier", "", "object storage at `URL`: file:///DIR, s3://BUCKET/PREFIX?…, minio://HOST:PORT/BUCKET/PREFIX?… or none (default a directory below --data)")
	f.StringArrayVar(&o.topics, "topic", nil, "make the topic `NAME[:PARTITIONS]` if it is not there, any number of times")
	o.settings.addSet(cmd)
	return cmd
}

// dataDir is where dev keeps its data unless a flag says otherwise: in FIRN_DATA, or where the user's programs
// keep theirs.
func (a *app) dataDir() string {
	if dir := a.env("FIRN_DATA", ""); dir != "" {
		return dir
	}
	if dir := a.env("XDG_DATA_HOME", ""); filepath.IsAbs(dir) {
		return filepath.Join(dir, "firn", "dev")
	}
	if home := a.env("HOME", ""); home != "" {
		return filepath.Join(home, ".local", "share", "firn", "dev")
	}
	return filepath.Join(os.TempDir(), "firn-dev")
}

func (a *app) dev(cmd *cobra.Command, o devOptions) error {
	wanted, err := parseTopics(o.topics)
	if err != nil {
		return err
	}
	if o.data == "" {
		return usagef("--data must not be empty")
	}
	if !strings.Contains(o.listen, "://") && !isHostPort(o.listen) {
		return usagef("--listen %q: want HOST:PORT", o.listen)
	}
	base, err := broker.DevConfig(o.data)
	if err != nil {
		return err
	}
	var flags []broker.Flag
	for _, f := range []broker.Flag{
		{Name: "--listen", Key: "listeners", Value: plaintextListener(o.listen)},
		{Name: "--http", Key: "http.listen", Value: o.http},
		{Name: "--tier", Key: "tier.url", Value: o.tier},
	} {
		if cmd.Flags().Changed(strings.TrimPrefix(f.Name, "--")) {
			flags = append(flags, f)
		}
	}
	cfg, err := a.load(base, o.settings, flags...)
	if err != nil {
		return err
	}
	if err := cfg.Validate(); err != nil {
		return err
	}
	n, err := a.newNode(cfg, a.logger(cfg.Logging))
	if err != nil {
		return err
	}
	return serve(cmd.Context(), n, func(ctx context.Context) error {
		if err := makeTopics(ctx, n.Addr(), wanted); err != nil {
			return err
		}
		return a.devScreen(cfg, n, o.data, wanted)
	})
}

// devScreen says where everything is and what to try first.
func (a *app) devScreen(cfg broker.Config, n node, dir string, topics []wantedTopic) error {
	http, tier := "off", "off"
	if addr := n.HTTPAddr(); addr != "" {
		http = "http://" + addr
	}
	if cfg.Tier.Enabled() {
		tier = cfg.Tier.URL
	}
	name := "demo"
	if len(topics) > 0 {
		name = topics[0].name
	}
	server := ""
	if n.Addr() != defaultBootstrap {
		server = " --bootstrap-server " + n.Addr()
	}
	_, err := fmt.Fprintf(a.out, `Firn is ready.

  clients  %s
  http     %s
  data     %s
  tier     %s

Try this in another terminal:

  echo hello | %[5]s produce %[6]s%[7]s
  %[5]s consume %[6]s --from earliest%[7]s

Ctrl-C stops it.
`, n.Addr(), http, dir, tier, a.program, name, server)
	return err
}

// wantedTopic is a topic that must be there.
type wantedTopic struct {
	name       string
	partitions int32 // -1: as the broker thinks fit
}

func parseTopics(list []string) ([]wantedTopic, error) {
	var out []wantedTopic
	for _, s := range list {
		name, count, counted := strings.Cut(s, ":")
		w := wantedTopic{name, -1}
		if err := topic.ValidateName(name); err != nil {
			return nil, usagef("--topic %q: %w", s, err)
		}
		if counted {
			n, err := strconv.ParseInt(count, 10, 32)
			if err != nil || n < 1 {
				return nil, usagef("--topic %q: want NAME or NAME:PARTITIONS", s)
			}
			w.partitions = int32(n)
		}
		out = append(out, w)
	}
	return out, nil
}

// makeTopics makes the topics that are not there yet.
func makeTopics(ctx context.Context, addr string, topics []wantedTopic) error {
	if len(topics) == 0 {
		return nil
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ClientID("firn"))
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	for _, t := range topics {
		resp, err := adm.CreateTopic(ctx, t.partitions, -1, nil, t.name)
		if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			return fmt.Errorf("create topic %s: %w", t.name, brokerError(err, resp.ErrMessage))
		}
	}
	return nil
}

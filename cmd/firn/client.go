package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	defaultBootstrap = "127.0.0.1:9092"
	// reachTimeout bounds how long a command looks for a broker before it gives up.
	reachTimeout = 10 * time.Second
	// metadataAge is how soon a command asks again who leads: somebody waits for it.
	metadataAge = 250 * time.Millisecond
)

// client is how a client command finds its cluster.
type client struct {
	app       *app
	bootstrap string
	waiting   *waiting
}

// clientFlags adds the flags of client commands to cmd and all below it.
func clientFlags(a *app, cmd *cobra.Command) *client {
	c := &client{app: a, waiting: &waiting{app: a}}
	cmd.PersistentFlags().StringVar(&c.bootstrap, "bootstrap-server", a.env("FIRN_BOOTSTRAP_SERVER", defaultBootstrap),
		"`HOST:PORT` of a broker, more with commas between; also FIRN_BOOTSTRAP_SERVER")
	return c
}

// dial returns a client of a cluster that answers. The caller closes it.
func (c *client) dial(ctx context.Context, opts ...kgo.Opt) (*kgo.Client, error) {
	seeds := strings.Split(c.bootstrap, ",")
	for i, s := range seeds {
		seeds[i] = strings.TrimSpace(s)
		if !isHostPort(seeds[i]) {
			return nil, usagef("--bootstrap-server %q: want HOST:PORT", c.bootstrap)
		}
	}
	all := append([]kgo.Opt{kgo.SeedBrokers(seeds...), kgo.ClientID("firn"), kgo.WithHooks(c.waiting), kgo.MetadataMinAge(metadataAge)}, opts...)
	cl, err := kgo.NewClient(all...)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	if err := reach(ctx, cl, seeds); err != nil {
		cl.Close()
		if ctx.Err() != nil {
			return nil, errInterrupted
		}
		return nil, fmt.Errorf("no broker answers at %s: %w", c.bootstrap, err)
	}
	c.waiting.begin()
	return cl, nil
}

// reach waits until one of the seeds answers, and begins with what that one tells of the cluster. The client itself asks them in
// turn, and one that hangs would take all the time there is for itself.
func reach(ctx context.Context, cl *kgo.Client, seeds []string) error {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	if len(seeds) > 1 {
		first, err := firstToAnswer(ctx, cl)
		if err != nil {
			return err
		}
		if first > 0 {
			seeds[0], seeds[first] = seeds[first], seeds[0]
			if err := cl.UpdateSeedBrokers(seeds...); err != nil {
				return err
			}
		}
	}
	return cl.Ping(ctx)
}

// firstToAnswer asks all seeds at once, and returns the number of the one that answers first.
func firstToAnswer(ctx context.Context, cl *kgo.Client) (int, error) {
	type answer struct {
		seed int
		err  error
	}
	all := cl.SeedBrokers()
	answers := make(chan answer, len(all))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for i, b := range all {
		go func() {
			req := kmsg.NewPtrMetadataRequest()
			req.Topics = []kmsg.MetadataRequestTopic{} // none, where nil is all
			_, err := b.Request(ctx, req)
			answers <- answer{i, err}
		}()
	}
	var a answer
	for range all {
		if a = <-answers; a.err == nil {
			break
		}
	}
	return a.seed, a.err
}

// isHostPort reports whether s is a host, which may be empty, and the number of a port.
func isHostPort(s string) bool {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}

// errInterrupted is what a command returns that was stopped before it was done.
var errInterrupted = errors.New("interrupted")

// cluster is a client for administration, with the plain client for what that does not know.
type cluster struct {
	*kadm.Client
	plain *kgo.Client
}

// admin returns a client of a cluster that answers, and what closes it.
func (c *client) admin(ctx context.Context) (cluster, func(), error) {
	cl, err := c.dial(ctx)
	if err != nil {
		return cluster{}, nil, err
	}
	return cluster{kadm.NewClient(cl), cl}, cl.Close, nil
}

// brokerError puts a broker's own words before the error code's.
func brokerError(err error, message string) error {
	if err == nil {
		return nil
	}
	if some, ok := errors.AsType[*kadm.ShardErrors](err); ok && len(some.Errs) > 0 {
		err = some.Errs[0].Err // the others are of other brokers, and seldom tell more
	}
	var ke *kerr.Error
	if !errors.As(err, &ke) {
		return err
	}
	if message == "" {
		message = strings.TrimSuffix(ke.Description, ".")
	}
	return &codeError{message, ke}
}

// codeError is a Kafka error as people read it.
type codeError struct {
	text string
	code *kerr.Error
}

func (e *codeError) Error() string { return e.text + " (" + e.code.Message + ")" }
func (e *codeError) Unwrap() error { return e.code }

// keyValues splits key=value flags.
func keyValues(flag string, list []string) ([][2]string, error) {
	var out [][2]string
	for _, s := range list {
		k, v, ok := strings.Cut(s, "=")
		if !ok || strings.TrimSpace(k) == "" {
			return nil, usagef("--%s %q: want KEY=VALUE", flag, s)
		}
		out = append(out, [2]string{strings.TrimSpace(k), v})
	}
	return out, nil
}

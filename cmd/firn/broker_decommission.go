package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// departurePoll is how often it is looked at how far a broker has come.
const departurePoll = time.Second

// departure is how far a broker has come, as firn broker decommission --json shows it.
type departure struct {
	Broker   int32 `json:"broker"`
	Leads    int   `json:"leads"`
	Replicas int   `json:"replicas"` // left on it
	Done     bool  `json:"done"`
}

func newBrokerDecommission(a *app) *cobra.Command {
	var c *client
	var asJSON, noWait bool
	cmd := &cobra.Command{
		Use:   "decommission BROKER",
		Short: "Move everything away from a broker for good",
		Long: `Have a broker leave the cluster for good, be it up or down. Others lead its partitions at once;
then its replicas move to other brokers, and once it has none it is unregistered and can be
stopped. That goes on by itself: this command only waits for it, and may be stopped and called
again. It is refused if the other brokers are too few for the replicas there are.

A partition whose only replica is on a broker that is down cannot move.`,
		Example: "  firn broker decommission 3\n  firn broker decommission 3 --no-wait --json",
		Args:    argCount(1, 1, "one BROKER"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := oneBroker(args)
			if err != nil {
				return err
			}
			adm, done, err := c.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			if err := unregister(cmd.Context(), adm, id); err != nil {
				return fmt.Errorf("decommission broker %d: %w", id, err)
			}
			show := func(d departure) error {
				switch {
				case asJSON && (noWait || d.Done):
					return writeJSON(a.out, d)
				case asJSON:
				case d.Done:
					a.printf("broker %d has left and can be stopped\n", id)
				default:
					a.printf("broker %d has %s left and leads %d\n", id, plural(d.Replicas, "replica"), d.Leads)
				}
				return nil
			}
			return awaitDeparture(cmd.Context(), adm, id, noWait, show)
		},
	}
	c = clientFlags(a, cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "return as soon as it has begun")
	return cmd
}

// unregister has a broker leave.
func unregister(ctx context.Context, adm cluster, id int32) error {
	req := kmsg.NewPtrUnregisterBrokerRequest()
	req.BrokerID = id
	resp, err := req.RequestWith(ctx, adm.plain)
	if err != nil {
		return err
	}
	return brokerError(kerr.ErrorForCode(resp.ErrorCode), deref(resp.ErrorMessage))
}

// awaitDeparture shows how far a broker has come whenever that changes, until it has nothing left.
func awaitDeparture(ctx context.Context, adm cluster, id int32, once bool, show func(departure) error) error {
	var last departure
	for {
		v, err := adm.view(ctx)
		if err != nil {
			return err
		}
		line, _ := v.broker(id)
		d := departure{Broker: id, Leads: line.Leads, Replicas: line.Replicas, Done: line.Replicas == 0}
		if d != last {
			if err := show(d); err != nil {
				return err
			}
		}
		if last = d; d.Done || once {
			return nil
		}
		if err := pause(ctx, departurePoll); err != nil {
			return err
		}
	}
}

// pause waits, unless the command is stopped.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return errInterrupted
	}
}

package main

import (
	"context"

	"github.com/spf13/cobra"

	"firn/broker"
)

func newBroker(a *app) *cobra.Command {
	var s settingFlags
	cmd := &cobra.Command{
		Use:   "broker",
		Short: "Run a broker on an etcd cluster, or ask a cluster about its brokers",
		Long: `Run a broker; the commands below ask a cluster about the brokers it has. Settings come from flags, from FIRN_* environment variables (FIRN_NODE_ID for
node.id), from the file and from defaults, in this order; 'firn config' shows them all.
Needed are node.id and etcd.endpoints.`,
		Example: `  firn broker --config /etc/firn/broker.properties
  firn broker --set node.id=1 --set etcd.endpoints=127.0.0.1:2379 --set log.dirs=/srv/firn`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.load(broker.DefaultConfig(), s)
			if err != nil {
				return err
			}
			if err := cfg.Validate(); err != nil {
				return err
			}
			log := a.logger(cfg.Logging)
			n, err := a.newNode(cfg, log)
			if err != nil {
				return err
			}
			return serve(cmd.Context(), n, func(context.Context) error {
				log.Info("ready", "node_id", cfg.NodeID, "listen", n.Addr(), "http", n.HTTPAddr())
				return nil
			})
		},
	}
	s.addFile(cmd)
	s.addSet(cmd)
	cmd.AddCommand(newBrokerList(a), newBrokerDescribe(a), newBrokerDecommission(a))
	return cmd
}

package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

func newTopicAlter(a *app, c *client) *cobra.Command {
	var partitions int
	var configs, deletes []string
	cmd := &cobra.Command{
		Use:   "alter NAME",
		Short: "Change a topic's settings or add partitions",
		Example: `  firn topic alter logs --config retention.ms=86400000
  firn topic alter logs --delete-config retention.ms
  firn topic alter logs --partitions 6`,
		Args: argCount(1, 1, "one NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			changes, err := configChanges(configs, deletes)
			if err != nil {
				return err
			}
			grow := cmd.Flags().Changed("partitions")
			if len(changes) == 0 && !grow {
				return usagef("nothing to change: give --config, --delete-config or --partitions")
			}
			adm, done, err := c.admin(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			if len(changes) > 0 {
				if err := alterSettings(cmd.Context(), adm, args[0], changes); err != nil {
					return err
				}
				a.printf("changed the settings of %s\n", args[0])
			}
			if grow {
				if err := growTopic(cmd.Context(), adm, args[0], partitions); err != nil {
					return err
				}
				a.printf("%s has %s\n", args[0], plural(partitions, "partition"))
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&configs, "config", nil, "set a topic setting, as `KEY=VALUE`, any number of times; 'firn config --topic' lists them")
	f.StringArrayVar(&deletes, "delete-config", nil, "put the topic setting `KEY` back to its default, any number of times")
	f.IntVar(&partitions, "partitions", 0, "`N` partitions is what the topic has afterwards; it can only grow")
	return cmd
}

func configChanges(configs, deletes []string) ([]kadm.AlterConfig, error) {
	kvs, err := keyValues("config", configs)
	if err != nil {
		return nil, err
	}
	var out []kadm.AlterConfig
	for _, kv := range kvs {
		out = append(out, kadm.AlterConfig{Op: kadm.SetConfig, Name: kv[0], Value: &kv[1]})
	}
	for _, k := range deletes {
		out = append(out, kadm.AlterConfig{Op: kadm.DeleteConfig, Name: k})
	}
	return out, nil
}

func alterSettings(ctx context.Context, adm cluster, name string, changes []kadm.AlterConfig) error {
	resps, err := adm.AlterTopicConfigs(ctx, changes, name)
	if err != nil {
		return fmt.Errorf("alter topic %s: %w", name, err)
	}
	r, err := resps.On(name, nil)
	if err != nil {
		return fmt.Errorf("alter topic %s: %w", name, err)
	}
	if r.Err != nil {
		return fmt.Errorf("alter topic %s: %w", name, brokerError(r.Err, r.ErrMessage))
	}
	return nil
}

func growTopic(ctx context.Context, adm cluster, name string, partitions int) error {
	resps, err := adm.UpdatePartitions(ctx, partitions, name)
	if err != nil {
		return fmt.Errorf("add partitions to %s: %w", name, err)
	}
	r, err := resps.On(name, nil)
	if err == nil {
		err = r.Err
	}
	if errors.Is(err, kerr.InvalidPartitions) && r.ErrMessage == "" {
		return fmt.Errorf("add partitions to %s: the number can only grow: %w", name, err)
	}
	if err != nil {
		return fmt.Errorf("add partitions to %s: %w", name, brokerError(err, r.ErrMessage))
	}
	return nil
}

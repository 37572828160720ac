package main

import (
	"log/slog"

	"firn/broker"
)

// startable makes the broker that the commands run.
func startable(cfg broker.Config, logger *slog.Logger) (node, error) {
	return broker.New(cfg, broker.Options{Logger: logger, Version: buildInfo().Version})
}

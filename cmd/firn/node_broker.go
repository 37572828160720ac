package main

import (
	"errors"
	"log/slog"

	"firn/broker"
)

// startable makes the broker that the commands run.
func startable(broker.Config, *slog.Logger) (node, error) {
	return nil, errors.New("this binary has no broker in it")
}

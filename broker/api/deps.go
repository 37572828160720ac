package api

import (
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/wire"
)

// Deps is what the handlers ask. Each group of handlers declares what it needs in its own struct of
// small interfaces.
type Deps struct {
	Admin  AdminDeps
	Data   DataDeps
	Groups GroupDeps

	// Authorizer decides on every request; nil allows all.
	Authorizer Authorizer
	// Logger is required.
	Logger *slog.Logger
	// Registerer may be nil.
	Registerer prometheus.Registerer
}

// Authorizer decides whether a principal may make a request of a kind.
type Authorizer interface {
	Authorize(who wire.Principal, conn *wire.Conn, key kmsg.Key) bool
}

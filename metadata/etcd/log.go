package etcd

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// newZap returns a zap logger that writes to a slog one. etcd tells much about itself that its operator wants
// to know and ours does not, and what fails we report ourselves: so all below Error becomes Debug.
func newZap(to *slog.Logger) *zap.Logger { return zap.New(&slogCore{to: to}) }

type slogCore struct {
	to     *slog.Logger
	fields []zapcore.Field
}

func level(l zapcore.Level) slog.Level {
	if l >= zapcore.ErrorLevel {
		return slog.LevelError
	}
	return slog.LevelDebug
}

// Enabled implements zapcore.Core.
func (c *slogCore) Enabled(l zapcore.Level) bool {
	return l > zapcore.DebugLevel && c.to.Enabled(context.Background(), level(l))
}

// With implements zapcore.Core.
func (c *slogCore) With(fields []zapcore.Field) zapcore.Core {
	return &slogCore{to: c.to, fields: append(c.fields[:len(c.fields):len(c.fields)], fields...)}
}

// Check implements zapcore.Core.
func (c *slogCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

// Write implements zapcore.Core.
func (c *slogCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range c.fields {
		f.AddTo(enc)
	}
	for _, f := range fields {
		f.AddTo(enc)
	}
	at := level(e.Level)
	if harmless(e.Message, enc.Fields["error"]) {
		at = slog.LevelDebug
	}
	attrs := make([]slog.Attr, 0, len(enc.Fields)+1)
	attrs = append(attrs, slog.String("message", e.Message))
	for k, v := range enc.Fields {
		attrs = append(attrs, slog.Any(k, v))
	}
	c.to.LogAttrs(context.Background(), at, "etcd", attrs...)
	return nil
}

// harmless reports whether a message that etcd calls an error tells of nothing amiss: each start of an empty
// member says the first, until its first write, and each stop the second, of every listener.
func harmless(message string, err any) bool {
	switch message {
	case "failed to update storage version":
		return true
	case "setting up serving from embedded etcd failed.":
		text := strings.ToLower(fmt.Sprint(err))
		return strings.Contains(text, "server closed") || strings.Contains(text, "use of closed network connection")
	}
	return false
}

// Sync implements zapcore.Core.
func (c *slogCore) Sync() error { return nil }

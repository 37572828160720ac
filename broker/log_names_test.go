package broker

import (
	"bytes"
	"log/slog"
	"testing"

	"firn/metadata/topic"
)

// An operator knows topics by name, so log lines of the tier name them too.
func TestLogLinesNameTopics(t *testing.T) {
	known, unknown := topic.NewID(), topic.NewID()
	var out bytes.Buffer
	plain := slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})
	log := slog.New(namedPartitions{plain, func(id topic.ID) (string, bool) { return "logs", id == known }})
	log.With("partition", topic.Partition{ID: known, Index: 3}, "epoch", 1).Warn("upload failed", "error", "away")
	log.WithGroup("g").Info("gone", "partition", topic.Partition{ID: unknown, Index: 4}, "n", 1)
	want := "level=WARN msg=\"upload failed\" topic=logs partition=3 epoch=1 error=away\n" +
		"level=INFO msg=gone g.topic_id=" + unknown.String() + " g.partition=4 g.n=1\n"
	if out.String() != want {
		t.Errorf("got:\n%swant:\n%s", out.String(), want)
	}
}

package broker

import (
	"context"
	"log/slog"
	"slices"

	"firn/metadata/topic"
)

// namedPartitions writes a topic.Partition among the facts of a message as people know it: by the topic's name,
// as the rest of the broker does. What lies below the metadata knows partitions by topic id alone.
type namedPartitions struct {
	slog.Handler
	topicName func(topic.ID) (string, bool)
}

// partitionLogger returns a logger for what knows partitions by topic id alone. It is for use once the metadata
// is open.
func (b *Broker) partitionLogger() *slog.Logger {
	return slog.New(namedPartitions{b.log.Handler(), func(id topic.ID) (string, bool) {
		t, ok := b.store.Image().TopicByID(id)
		if !ok {
			return "", false
		}
		return t.Name, true
	}})
}

// Handle implements slog.Handler.
func (h namedPartitions) Handle(ctx context.Context, r slog.Record) error {
	named := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		named.AddAttrs(h.name(a)...)
		return true
	})
	return h.Handler.Handle(ctx, named)
}

// WithAttrs implements slog.Handler.
func (h namedPartitions) WithAttrs(attrs []slog.Attr) slog.Handler {
	var named []slog.Attr
	for _, a := range attrs {
		named = append(named, h.name(a)...)
	}
	return namedPartitions{h.Handler.WithAttrs(slices.Clip(named)), h.topicName}
}

// WithGroup implements slog.Handler.
func (h namedPartitions) WithGroup(name string) slog.Handler {
	return namedPartitions{h.Handler.WithGroup(name), h.topicName}
}

// name returns what stands for one fact. A topic that the metadata does not know keeps its id.
func (h namedPartitions) name(a slog.Attr) []slog.Attr {
	tp, ok := a.Value.Any().(topic.Partition)
	if !ok {
		return []slog.Attr{a}
	}
	of := slog.String("topic_id", tp.ID.String())
	if name, ok := h.topicName(tp.ID); ok {
		of = slog.String("topic", name)
	}
	return []slog.Attr{of, slog.Int("partition", int(tp.Index))}
}

package broker

import (
	"context"

	"firn/metadata"
	"firn/metadata/topic"
)

func (b *Broker) startCollector(context.Context) error               { return nil }
func (b *Broker) describeTopic(context.Context, topic.ID) error       { return nil }
func (b *Broker) catalogChanged(metadata.TopicChange)                 {}

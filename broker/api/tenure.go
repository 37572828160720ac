package api

import (
	"context"
	"errors"

	"firn/broker/controller"
	"firn/metadata"
	"firn/metadata/topic"
)

// tenure is the controller of this broker during one request.
type tenure struct {
	Controller
	over bool // something came to nothing as another is the controller by now
	used bool // something has happened, or may have
}

func (t *tenure) note(errs ...error) {
	for _, err := range errs {
		switch {
		case errors.Is(err, controller.ErrNotController):
			t.over = true
		case err == nil, errors.Is(err, metadata.ErrUnknown):
			t.used = true
		}
	}
}

func (t *tenure) CreateTopics(ctx context.Context, topics []controller.NewTopic, validateOnly bool) []controller.CreatedTopic {
	created := t.Controller.CreateTopics(ctx, topics, validateOnly)
	for _, c := range created {
		t.note(c.Err)
	}
	return created
}

func (t *tenure) DeleteTopics(ctx context.Context, ids []topic.ID) []error {
	errs := t.Controller.DeleteTopics(ctx, ids)
	t.note(errs...)
	return errs
}

func (t *tenure) CreatePartitions(ctx context.Context, more []controller.MorePartitions, validateOnly bool) []error {
	errs := t.Controller.CreatePartitions(ctx, more, validateOnly)
	t.note(errs...)
	return errs
}

func (t *tenure) AlterSettings(ctx context.Context, alter []controller.AlterSettings, validateOnly bool) []error {
	errs := t.Controller.AlterSettings(ctx, alter, validateOnly)
	t.note(errs...)
	return errs
}

func (t *tenure) Reassign(ctx context.Context, list []controller.Reassignment) []error {
	errs := t.Controller.Reassign(ctx, list)
	t.note(errs...)
	return errs
}

func (t *tenure) Elect(ctx context.Context, list []controller.Election) []error {
	errs := t.Controller.Elect(ctx, list)
	t.note(errs...)
	return errs
}

func (t *tenure) Unregister(ctx context.Context, broker int32) error {
	err := t.Controller.Unregister(ctx, broker)
	t.note(err)
	return err
}

package api

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"

	"firn/metadata/topic"
)

// errorRow maps an error that others wrap to Kafka's.
type errorRow struct {
	is    error
	kafka *kerr.Error
}

var errorRows []errorRow

// mapErrors adds a row.
func mapErrors(is error, kafka *kerr.Error) {
	errorRows = append(errorRows, errorRow{is: is, kafka: kafka})
}

// mapped returns the row of err or of the first error in it that has one. What wraps another knows better what that means here:
// a tier that cannot be read because the key space is away is a tier that cannot be read.
func mapped(err error) *kerr.Error {
	for err != nil {
		for _, r := range errorRows {
			if err == r.is { //nolint:errorlint // it goes through the wraps itself
				return r.kafka
			}
		}
		switch e := err.(type) { //nolint:errorlint // as errors.Is does
		case interface{ Unwrap() error }:
			err = e.Unwrap()
		case interface{ Unwrap() []error }:
			for _, in := range e.Unwrap() {
				if ke := mapped(in); ke != nil {
					return ke
				}
			}
			return nil
		default:
			return nil
		}
	}
	return nil
}

// kafkaError returns the Kafka error for err, nil for nil, UNKNOWN_SERVER_ERROR for what no row names.
// An error that is or wraps a *kerr.Error is that, a *topic.Error is INVALID_CONFIG.
func kafkaError(err error) *kerr.Error {
	if err == nil {
		return nil
	}
	var ke *kerr.Error
	if errors.As(err, &ke) {
		return ke
	}
	if ke := mapped(err); ke != nil {
		return ke
	}
	var setting *topic.Error
	switch {
	case errors.As(err, &setting):
		return kerr.InvalidConfig
	// Last, for what a network's time-out made of an error is this, too, and rows know better.
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return kerr.RequestTimedOut
	}
	return kerr.UnknownServerError
}

// code returns the Kafka error code for err, 0 for nil.
func code(err error) int16 {
	if ke := kafkaError(err); ke != nil {
		return ke.Code
	}
	return 0
}

// storageCode is code for a client that knows KAFKA_STORAGE_ERROR, or does not: that one would take it for final, and hears
// of another leader instead.
func storageCode(err error, known bool) int16 {
	if !known && errors.Is(kafkaError(err), kerr.KafkaStorageError) {
		return kerr.NotLeaderForPartition.Code
	}
	return code(err)
}

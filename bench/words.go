package bench

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// untiered keeps uploads out of what is measured.
var untiered = map[string]string{"remote.storage.enable": "false"}

// runID keeps the topics of two runs on one cluster apart.
var runID = rand.Uint32()

// topicName names a topic of this run.
func topicName(what string, round int) string {
	return fmt.Sprintf("bench-%08x-%s-%d", runID, what, round+1)
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

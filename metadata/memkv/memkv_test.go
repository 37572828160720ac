package memkv

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"firn/metadata"
	"firn/metadata/kvtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestExam(t *testing.T) {
	kvtest.Run(t, func(testing.TB) kvtest.Subject {
		s := NewServer()
		return kvtest.Subject{
			Dial:    func(testing.TB) metadata.KV { return s.Dial() },
			Compact: func(_ testing.TB, rev int64) { s.Compact(rev) },
			TTL:     200 * time.Millisecond,
		}
	})
}

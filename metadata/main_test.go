package metadata_test

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"go.uber.org/goleak"

	"firn/metadata"
	"firn/metadata/memkv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds each wait for something that must happen.
const patience = 2 * time.Minute

func testContext(tb testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	tb.Cleanup(cancel)
	return ctx
}

func testRand(tb testing.TB) *rand.Rand {
	seed := rand.Uint64()
	tb.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

func testLog(tb testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(tb.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func dial(tb testing.TB, s *memkv.Server) *memkv.Client {
	kv := s.Dial()
	tb.Cleanup(func() { _ = kv.Close() })
	return kv
}

func openStore(tb testing.TB, kv metadata.KV) *metadata.Store {
	tb.Helper()
	s, err := metadata.Open(testContext(tb), kv, metadata.Options{Logger: testLog(tb)})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	return s
}

func mustTxn(tb testing.TB, kv metadata.KV, txn metadata.Txn) int64 {
	tb.Helper()
	res, err := kv.Txn(testContext(tb), txn)
	if err != nil || !res.OK {
		tb.Fatalf("txn: %+v, %v", res, err)
	}
	return res.Rev
}

func waitRev(tb testing.TB, s *metadata.Store, rev int64) *metadata.Image {
	tb.Helper()
	im, err := s.WaitRev(testContext(tb), rev)
	if err != nil {
		tb.Fatal(err)
	}
	return im
}

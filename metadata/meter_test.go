package metadata_test

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"firn/metadata"
	"firn/metadata/kvtest"
	"firn/metadata/memkv"
)

func TestExamMeasured(t *testing.T) {
	kvtest.Run(t, func(testing.TB) kvtest.Subject {
		s := memkv.NewServer()
		m := metadata.NewMeter(prometheus.NewRegistry())
		return kvtest.Subject{
			Dial:    func(testing.TB) metadata.KV { return m.Around(s.Dial()) },
			Compact: func(_ testing.TB, rev int64) { s.Compact(rev) },
			TTL:     200 * time.Millisecond,
		}
	})
}

// TestMetrics looks whether everything registers in one registry, and counts.
func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	kv := dial(t, memkv.NewServer())
	kvs := metadata.NewMeter(reg).Around(kv)
	s, err := metadata.Open(testContext(t), kvs, metadata.Options{Registerer: reg})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c := s.NewCommitter(metadata.CommitterOptions{Registerer: reg})
	defer c.Close()
	l, err := s.Register(testContext(t), registration(1), metadata.LeaseOptions{KV: kvs, Registerer: reg})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	kv.Cut(true)
	if _, _, err := kvs.Get(t.Context(), "/k"); err == nil {
		t.Error("cut off and answered")
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "firn_metadata_") {
			t.Errorf("metric %s", f.GetName())
		}
		for _, m := range f.GetMetric() {
			labels := ""
			for _, p := range m.GetLabel() {
				labels += " " + p.GetValue()
			}
			if m.GetCounter().GetValue() > 0 || m.GetGauge().GetValue() > 0 || m.GetHistogram().GetSampleCount() > 0 {
				found[f.GetName()+labels] = true
			}
		}
	}
	for _, want := range []string{
		"firn_metadata_kv_calls_total get unavailable", "firn_metadata_kv_calls_total txn ok", "firn_metadata_kv_call_seconds range",
		"firn_metadata_kv_written_bytes_total", "firn_metadata_image_revision", "firn_metadata_lease_headroom_seconds", "firn_metadata_registrations_total",
	} {
		if !found[want] {
			t.Errorf("%s is not counted; there are %v", want, found)
		}
	}
}

package topic

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func mustParse(t *testing.T, overrides map[string]string, d Defaults) Config {
	t.Helper()
	c, err := ParseConfig(overrides, d)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestParseConfigDefaults(t *testing.T) {
	want := Config{
		Cleanup:         Cleanup{Delete: true},
		Compression:     Compression{Type: CompressionProducer, GzipLevel: -1, LZ4Level: 9, ZstdLevel: 3},
		MaxMessageBytes: 1048588,
		MinInsync:       1,
		Timestamp:       Timestamp{BeforeMaxMs: math.MaxInt64, AfterMaxMs: hourMs},
		Segment:         Segment{Bytes: 128 << 20, Ms: 7 * 24 * hourMs, IndexIntervalBytes: 4096, IndexBytes: 10 << 20},
		Flush:           Flush{Messages: 1, Ms: 1000},
		Retention:       Retention{Bytes: Unlimited, Ms: 7 * 24 * hourMs},
		Tier:            Tier{LocalBytes: Unlimited, LocalMs: 7 * 24 * hourMs, MaxLagMs: 600_000, MinBytes: 1 << 20},
		Compaction:      Compaction{MaxLagMs: math.MaxInt64, TombstoneMs: 24 * hourMs, MinDirtyRatio: 0.5},
	}
	if diff := cmp.Diff(want, mustParse(t, nil, Defaults{})); diff != "" {
		t.Errorf("without object storage (-want +got):\n%s", diff)
	}
	want.Tier.Enabled = true
	want.Tier.LocalMs = 24 * hourMs
	if diff := cmp.Diff(want, mustParse(t, nil, Defaults{Tiered: true})); diff != "" {
		t.Errorf("with object storage (-want +got):\n%s", diff)
	}
	if !want.Flush.Durable() || (Flush{Messages: 2}).Durable() {
		t.Error("flush.messages=1, and only that, is durable")
	}
}

func TestParseConfigSettles(t *testing.T) {
	tests := []struct {
		name      string
		overrides map[string]string
		untiered  bool
		retention Retention
		enabled   bool
		localB    int64
		localMs   int64
	}{
		{"local narrowed to a shorter total", map[string]string{"retention.ms": "1000", "retention.bytes": "500"}, false, Retention{500, 1000}, true, 500, 1000},
		{"local within the total", map[string]string{"retention.ms": "1000", "local.retention.ms": "10", "local.retention.bytes": "7"}, false, Retention{-1, 1000}, true, 7, 10},
		{"minus two is the total", map[string]string{"retention.ms": "99000000", "local.retention.ms": "-2"}, false, Retention{-1, 99000000}, true, -1, 99000000},
		{"unlimited both", map[string]string{"retention.ms": "-1", "local.retention.ms": "-1"}, false, Retention{-1, -1}, true, -1, -1},
		{"copy disabled keeps local copies", map[string]string{"remote.log.copy.disable": "true"}, false, Retention{-1, 604800000}, true, -1, 604800000},
		{"not tiered by choice", map[string]string{"remote.storage.enable": "false"}, false, Retention{-1, 604800000}, false, -1, 86400000},
		{"nothing to tier to", map[string]string{"remote.storage.enable": "true"}, true, Retention{-1, 604800000}, false, -1, 604800000},
		{"compact is kept whole", map[string]string{"cleanup.policy": "compact", "retention.ms": "5"}, false, Retention{-1, -1}, false, -1, 86400000},
		{"compact,delete likewise", map[string]string{"cleanup.policy": "compact,delete", "retention.bytes": "5"}, false, Retention{-1, -1}, false, -1, 86400000},
		{"no cleanup at all", map[string]string{"cleanup.policy": ""}, false, Retention{-1, -1}, true, -1, 86400000},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := mustParse(t, tt.overrides, Defaults{Tiered: !tt.untiered})
			if c.Retention != tt.retention || c.Tier.Enabled != tt.enabled || c.Tier.LocalBytes != tt.localB || c.Tier.LocalMs != tt.localMs {
				t.Errorf("got %+v, %+v", c.Retention, c.Tier)
			}
		})
	}
}

func TestServerPrecedence(t *testing.T) {
	tests := []struct {
		name   string
		d      Defaults
		ms     int64
		source Source
		from   string
	}{
		{"hours", Defaults{Static: map[string]string{"log.retention.hours": "2"}}, 2 * hourMs, SourceStatic, "log.retention.hours"},
		{"minutes before hours", Defaults{Static: map[string]string{"log.retention.hours": "2", "log.retention.minutes": "3"}}, 3 * minuteMs, SourceStatic, "log.retention.minutes"},
		{"ms before minutes", Defaults{Static: map[string]string{"log.retention.ms": "7", "log.retention.minutes": "3"}}, 7, SourceStatic, "log.retention.ms"},
		{"broker before cluster before file", Defaults{
			Broker: map[string]string{"log.retention.ms": "1"}, Cluster: map[string]string{"log.retention.ms": "2"}, Static: map[string]string{"log.retention.ms": "3"},
		}, 1, SourceBroker, "log.retention.ms"},
		{"cluster before file", Defaults{Cluster: map[string]string{"log.retention.ms": "2"}, Static: map[string]string{"log.retention.ms": "3"}}, 2, SourceClusterDefault, "log.retention.ms"},
		{"the stronger name before the stronger source", Defaults{Broker: map[string]string{"log.retention.hours": "9"}, Static: map[string]string{"log.retention.ms": "3"}}, 3, SourceStatic, "log.retention.ms"},
		{"no limit in hours", Defaults{Static: map[string]string{"log.retention.hours": "-1"}}, Unlimited, SourceStatic, "log.retention.hours"},
		{"hours past the range", Defaults{Static: map[string]string{"log.retention.hours": "9223372036854775807"}}, math.MaxInt64 / hourMs * hourMs, SourceStatic, "log.retention.hours"},
		{"empty and bad ones passed over", Defaults{Broker: map[string]string{"log.retention.ms": "x"}, Static: map[string]string{"log.retention.ms": " "}}, 168 * hourMs, SourceDefault, "log.retention.ms"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if c := mustParse(t, nil, tt.d); c.Retention.Ms != tt.ms {
				t.Errorf("retention %d, want %d", c.Retention.Ms, tt.ms)
			}
			for _, v := range Resolve(nil, tt.d) {
				if v.Def.Name == "retention.ms" && (v.Source != tt.source || v.Chain[0].Name != tt.from) {
					t.Errorf("from %v %+v, want %v %s", v.Source, v.Chain, tt.source, tt.from)
				}
			}
		})
	}
}

func TestResolveChain(t *testing.T) {
	d := Defaults{Tiered: true, Cluster: map[string]string{"log.retention.ms": "20"}, Static: map[string]string{"log.retention.minutes": "1"}}
	got := map[string]Value{}
	for _, v := range Resolve(map[string]string{"retention.ms": "10", "segment.ms": "wrong"}, d) {
		got[v.Def.Name] = v
	}
	want := []Origin{
		{"retention.ms", "10", SourceTopic},
		{"log.retention.ms", "20", SourceClusterDefault},
		{"log.retention.minutes", "1", SourceStatic},
		{"log.retention.ms", "604800000", SourceDefault},
	}
	if diff := cmp.Diff(want, got["retention.ms"].Chain); diff != "" {
		t.Errorf("retention.ms (-want +got):\n%s", diff)
	}
	if v := got["retention.ms"]; v.Value != "10" || v.Source != SourceTopic {
		t.Errorf("retention.ms is %s from %d", v.Value, v.Source)
	}
	if v := got["segment.ms"]; v.Value != "604800000" || v.Source != SourceDefault {
		t.Errorf("a bad override is in force: %+v", v)
	}
	if v := got["local.retention.ms"]; v.Value != "86400000" {
		t.Errorf("local.retention.ms is %s where there is object storage", v.Value)
	}
	if v := Resolve(nil, Defaults{Static: map[string]string{"log.retention.minutes": "2"}}); value(v, "retention.ms") != "120000" {
		t.Errorf("minutes come out as %s", value(v, "retention.ms"))
	}
}

func value(vs []Value, name string) string {
	for _, v := range vs {
		if v.Def.Name == name {
			return v.Value
		}
	}
	return ""
}

func TestParseConfigErrorsLeaveAUsableConfig(t *testing.T) {
	d := Defaults{Static: map[string]string{"log.retention.ms": "77"}}
	c, err := ParseConfig(map[string]string{"retention.ms": "-7", "retention.mss": "1", "zzz": "2", "segment.bytes": "8192"}, d)
	if c.Retention.Ms != 77 || c.Segment.Bytes != 8192 || c.MaxMessageBytes != 1048588 {
		t.Errorf("config is %+v", c)
	}
	var e *Error
	if !errors.As(err, &e) || e.Key != "retention.ms" || e.Value != "-7" || e.Unknown {
		t.Errorf("first error is %+v", e)
	}
	want := strings.Join([]string{
		`topic setting retention.ms="-7": allowed is a whole number, -1 or more`,
		`unknown topic setting "retention.mss" (value "1"): there is no such setting; did you mean retention.ms?`,
		`unknown topic setting "zzz" (value "2"): there is no such setting`,
	}, "\n")
	if err.Error() != want {
		t.Errorf("got:\n%v\nwant:\n%s", err, want)
	}
}

func TestValidate(t *testing.T) {
	tests := []struct {
		name      string
		overrides map[string]string
		d         Defaults
		want      string // key blamed, then what the text must say; "" when fine
	}{
		{"nothing", nil, Defaults{}, ""},
		{"local wider", map[string]string{"retention.ms": "10", "local.retention.ms": "11"}, Defaults{Tiered: true}, "local.retention.ms 0 to 10"},
		{"local unlimited, total not", map[string]string{"retention.bytes": "10", "local.retention.bytes": "-1"}, Defaults{Tiered: true}, "local.retention.bytes 0 to 10"},
		{"local wider than the server's total", map[string]string{"local.retention.ms": "11"}, Defaults{Tiered: true, Static: map[string]string{"log.retention.ms": "10"}}, "local.retention.ms 0 to 10"},
		{"local as the total", map[string]string{"retention.ms": "10", "local.retention.ms": "-2"}, Defaults{Tiered: true}, ""},
		{"default local is narrowed", map[string]string{"retention.ms": "10"}, Defaults{Tiered: true}, ""},
		{"server's local is narrowed", map[string]string{"retention.ms": "10"}, Defaults{Tiered: true, Static: map[string]string{"log.local.retention.ms": "20"}}, ""},
		{"no object storage", map[string]string{"remote.storage.enable": "true"}, Defaults{}, "remote.storage.enable no object storage"},
		{"compact and tiered", map[string]string{"remote.storage.enable": "true", "cleanup.policy": "compact"}, Defaults{Tiered: true}, "remote.storage.enable compacted topics"},
		{"compact", map[string]string{"cleanup.policy": "compact"}, Defaults{Tiered: true}, ""},
		{"not tiered", map[string]string{"remote.storage.enable": "false"}, Defaults{}, ""},
		{"lags crossed", map[string]string{"min.compaction.lag.ms": "5", "max.compaction.lag.ms": "4"}, Defaults{}, "min.compaction.lag.ms 0 to 4"},
		{"max lag below the server's min", map[string]string{"max.compaction.lag.ms": "4"}, Defaults{Static: map[string]string{"log.cleaner.min.compaction.lag.ms": "5"}}, "max.compaction.lag.ms 5"},
		{"value", map[string]string{"segment.bytes": "1"}, Defaults{}, "segment.bytes 4096 or more"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := Validate(tt.overrides, tt.d)
			if tt.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			key, text, _ := strings.Cut(tt.want, " ")
			var e *Error
			if !errors.As(err, &e) || e.Key != key || !strings.Contains(err.Error(), text) {
				t.Fatalf("got %v, want one that blames %s and says %q", err, key, text)
			}
		})
	}
}

// A request may hold some 100,000 settings that there are not. Whoever checks them must not look for what each could mean.
func TestFewMistakesAreTold(t *testing.T) {
	overrides := map[string]string{"segment.bytes": "1"}
	for i := range 100 {
		overrides[fmt.Sprintf("retention.m%d", i)] = "5"
	}
	_, err := ParseConfig(overrides, Defaults{})
	list, ok := err.(interface{ Unwrap() []error })
	if !ok || len(list.Unwrap()) != MaxErrors+1 || !strings.Contains(err.Error(), "segment.bytes") ||
		!strings.Contains(err.Error(), "did you mean retention.ms?") || !strings.Contains(err.Error(), "more") {
		t.Errorf("%v", err)
	}
}

func FuzzParseConfig(f *testing.F) {
	for i := range Defs {
		f.Add(Defs[i].Name, Defs[i].Default)
	}
	f.Add("log.retention.hours", "-9223372036854775808")
	f.Fuzz(func(t *testing.T, key, value string) {
		for _, d := range []Defaults{{}, {Tiered: true, Static: map[string]string{key: value}}} {
			c, err := ParseConfig(map[string]string{key: value}, d)
			if (err == nil) != (Lookup(key) != nil && Lookup(key).Check(value) == nil) {
				t.Fatalf("ParseConfig and Check differ on %s=%q: %v", key, value, err)
			}
			if c.Retention.Ms < Unlimited || c.Tier.LocalMs < Unlimited || c.Tier.LocalBytes < Unlimited || c.Segment.Bytes < minSegmentBytes {
				t.Fatalf("%s=%q gives %+v", key, value, c)
			}
			if len(Resolve(map[string]string{key: value}, d)) != len(Defs) {
				t.Fatal("Resolve lost a setting")
			}
		}
	})
}

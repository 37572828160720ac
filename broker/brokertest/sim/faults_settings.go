package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// retunings are settings that a topic may get while clients work at it. None of them promises less than the topics' own do.
// zstd's decoders have channels, which do not outlive a bubble.
var retunings = []string{
	"compression.type=lz4", "compression.type=gzip", "compression.type=snappy", "compression.type=uncompressed",
	"segment.bytes=1048576", "segment.ms=300", "index.interval.bytes=1", "flush.messages=1", "min.insync.replicas=3",
	"local.retention.ms=100", "local.retention.ms=-1", "local.retention.bytes=1", "tier.max.lag.ms=100", "tier.min.bytes=1048576",
	"remote.log.copy.disable=true", "remote.storage.enable=false",
}

// settingsOf are those that a topic has as long as nobody changes them.
func (s *sim) settingsOf(w workload) []string { return slices.Concat(w.settings, s.unlike) }

// retuned changes a setting of a topic, and back.
func retuned(s *sim, rng *rand.Rand, _ *machine) (func(), string) {
	w := s.workloads[rng.IntN(len(s.workloads))]
	name, value, _ := strings.Cut(retunings[rng.IntN(len(retunings))], "=")
	s.retunes = true
	alter := func(ctx context.Context) error {
		resp, err := s.adm.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Name: name, Value: &value}}, w.name)
		return errors.Join(err, refused(resp))
	}
	try := func(what func(context.Context) error) {
		s.side.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			s.log("%s with %s=%s, or back: %v", w.name, name, value, what(ctx))
		})
	}
	try(alter)
	return func() { try(func(ctx context.Context) error { return s.retune(ctx, w, s.settingsOf(w)...) }) }, fmt.Sprintf("%s=%s of %s", name, value, w.name)
}

// retune gives a topic the settings that topics have, but for some.
func (s *sim) retune(ctx context.Context, w workload, over ...string) error {
	var set []kadm.AlterConfig
	for k, v := range topicConfig(over...) {
		set = append(set, kadm.AlterConfig{Name: k, Value: v})
	}
	resp, err := s.adm.AlterTopicConfigsState(ctx, set, w.name)
	return errors.Join(err, refused(resp))
}

func refused(resp kadm.AlterConfigsResponses) (err error) {
	for _, r := range resp {
		err = errors.Join(err, r.Err)
	}
	return err
}

// retuneAll gives all topics their settings again.
func (s *sim) retuneAll(settings func(workload) []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for _, w := range s.workloads {
		if err := s.retune(ctx, w, settings(w)...); err != nil {
			return err
		}
	}
	return nil
}

// asUsual gives all topics the settings that they have in other seeds.
func (s *sim) asUsual() error {
	if len(s.unlike) == 0 {
		return nil
	}
	return s.retuneAll(func(w workload) []string { return w.settings })
}

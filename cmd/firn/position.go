package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// positionForms is what parsePosition reads, for help texts.
const positionForms = "earliest, latest, an offset, @TIME or a time ago as -2h"

type positionKind int8

const (
	atEarliest positionKind = iota
	atLatest
	atOffset
	atTime
)

// position is a place in a partition as a person names it.
type position struct {
	kind   positionKind
	offset int64
	time   time.Time
}

// parsePosition reads earliest, latest, a number (an offset), @ and a time (RFC 3339, a date, or milliseconds
// since 1970), or - and a time span before now, in Go's units and days.
func parsePosition(flag, s string, now time.Time) (position, error) {
	bad := usagef("--%s %q: want %s", flag, s, positionForms)
	switch {
	case s == "earliest":
		return position{kind: atEarliest}, nil
	case s == "latest":
		return position{kind: atLatest}, nil
	case strings.HasPrefix(s, "@"):
		t, err := parseTime(s[1:])
		if err != nil {
			return position{}, usagef("--%s %q: want @ and a time as 2006-01-02T15:04:05Z, a date or milliseconds", flag, s)
		}
		return position{kind: atTime, time: t}, nil
	case strings.HasPrefix(s, "-"):
		d, err := parseSpan(s[1:])
		if err != nil {
			return position{}, bad
		}
		return position{kind: atTime, time: now.Add(-d)}, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return position{}, bad
	}
	return position{kind: atOffset, offset: n}, nil
}

func parseTime(s string) (time.Time, error) {
	if ms, err := strconv.ParseInt(s, 10, 64); err == nil && len(s) > 8 {
		return time.UnixMilli(ms), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errors.New("no time")
}

// parseSpan reads a length of time that is not negative, in Go's units or in days (7d).
func parseSpan(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		return time.Duration(n) * 24 * time.Hour, err
	}
	d, err := time.ParseDuration(s)
	if err == nil && (d < 0 || strings.HasPrefix(s, "+")) {
		err = errors.New("signed")
	}
	return d, err
}

// later is pos for the client to find out.
func (p position) later() kgo.Offset {
	switch p.kind {
	case atLatest:
		return kgo.NewOffset().AtEnd()
	case atOffset:
		return kgo.NewOffset().At(p.offset)
	case atTime:
		return kgo.NewOffset().AfterMilli(max(p.time.UnixMilli(), 0))
	case atEarliest:
	}
	return kgo.NewOffset().AtStart()
}

// offsets are the offsets of one topic's partitions.
type offsets map[int32]int64

// listOffsets turns what kadm lists of a topic into offsets; the error of any partition, or if wanted names some, of
// one of those, is one. Partitions that are not wanted may be missing. With an error there is what is known all the same.
func listOffsets(name string, wanted []int32, list kadm.ListedOffsets, err error) (offsets, error) {
	unwanted := func(p int32) bool { return len(wanted) > 0 && !slices.Contains(wanted, p) }
	known := func(p int32) bool { _, ok := list.Lookup(name, p); return ok }
	var failed error
	if err != nil && (!ofSome(err) || len(wanted) == 0 || slices.ContainsFunc(wanted, func(p int32) bool { return !known(p) })) {
		failed = fmt.Errorf("offsets of %s: %w", name, brokerError(err, ""))
	}
	out := offsets{}
	for p, o := range list[name] {
		switch {
		case o.Err == nil:
			out[p] = o.Offset
		case p < 0:
			return nil, fmt.Errorf("offsets of %s: %w", name, missingTopic(o.Err))
		case unwanted(p) || failed != nil:
		default:
			failed = fmt.Errorf("offsets of %s-%d: %w", name, p, brokerError(o.Err, ""))
		}
	}
	return out, failed
}

// lookup is resolve or resolveOnce.
type lookup func(ctx context.Context, adm *kadm.Client, name string, wanted []int32, pos position) (offsets, error)

// resolve returns the offset that pos means in each partition of a topic, not bounded by where the
// partitions begin and end; if wanted names some, those are there, and others as far as they are known. A time is the first
// record of that time or later, or the end. For a moment after a cluster has started a partition may have no leader, and a
// leader not know how far its partition can be read: then it is asked again.
func resolve(ctx context.Context, adm *kadm.Client, name string, wanted []int32, pos position) (offsets, error) {
	deadline := time.Now().Add(reachTimeout)
	for {
		out, err := resolveOnce(ctx, adm, name, wanted, pos)
		if !isLeaderless(err) || time.Now().After(deadline) {
			return out, err
		}
		select {
		case <-ctx.Done():
			return out, err
		case <-time.After(askAgain):
		}
	}
}

// leaderless are the errors of partitions whose leaders are about to change, or have just.
var leaderless = []*kerr.Error{kerr.OffsetNotAvailable, kerr.LeaderNotAvailable, kerr.NotLeaderForPartition}

func isLeaderless(err error) bool {
	return slices.ContainsFunc(leaderless, func(e *kerr.Error) bool { return errors.Is(err, e) })
}

// askAgain is how long a leader that needs a moment is given.
const askAgain = 100 * time.Millisecond

func resolveOnce(ctx context.Context, adm *kadm.Client, name string, wanted []int32, pos position) (offsets, error) {
	var list kadm.ListedOffsets
	var err error
	switch pos.kind {
	case atEarliest:
		list, err = adm.ListStartOffsets(ctx, name)
	case atTime:
		list, err = adm.ListOffsetsAfterMilli(ctx, max(pos.time.UnixMilli(), 0), name)
	case atLatest, atOffset:
		list, err = adm.ListEndOffsets(ctx, name)
	}
	out, err := listOffsets(name, wanted, list, err)
	if pos.kind == atOffset {
		for p := range out {
			out[p] = pos.offset
		}
	}
	return out, err
}

package group

import (
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"firn/broker/coordinator"
	"firn/metadata/topic"
)

// Committer names who commits: a member of a generation, or, with Generation -1 and no MemberID, a
// consumer that assigns itself its partitions.
type Committer struct {
	Group      string
	MemberID   string
	InstanceID *string
	Generation int32
	// Version of OffsetCommit: from 9 on a member of a group that does not exist is told so.
	Version int16
	// Expires is when versions 2 to 4 want the offsets to go; zero: when Options.OffsetsRetention says.
	Expires time.Time
}

// Commit is one partition's position: the offset of the next record to read.
type Commit struct {
	Partition   topic.Partition
	Offset      int64
	LeaderEpoch int32
	Metadata    string
}

// Committed is the outcome of a commit: a code for the whole request, or one for each Commit in
// their order.
type Committed struct {
	Err   *kerr.Error
	Codes []int16
}

// groupNotFoundVersion is the OffsetCommit version from which a member of an unknown group is told that the group
// is unknown, before that that its generation is over.
const groupNotFoundVersion = 9

// Commit handles OffsetCommit. A nil error means the offsets are in the metadata store. Partitions
// that do not exist have been sorted out before. A commit that names no group that exists, by someone
// who claims no membership, makes the group.
func (m *Machine) Commit(now time.Time, by Committer, commits []Commit, done Done[Committed]) coordinator.Result {
	g := m.get(by.Group)
	if err := m.commitCheck(g, now, by); err != nil {
		answer(m, done, &Committed{Err: err})
		return m.take()
	}
	if g == nil {
		g = newGroup(by.Group, now)
	}
	codes := make([]int16, len(commits))
	dirty := map[bucketKey]bool{}
	for i, c := range commits {
		note := clean(strings.Clone(c.Metadata)) // which may be longer
		if len(note) > m.opts.MaxMetadata {
			codes[i] = kerr.OffsetMetadataTooLarge.Code
			continue
		}
		m.groups[g.id] = g
		ps := g.offsets[c.Partition.ID]
		if ps == nil {
			ps = map[int32]offset{}
			g.offsets[c.Partition.ID] = ps
		}
		ps[c.Partition.Index] = offset{offset: c.Offset, leaderEpoch: c.LeaderEpoch, metadata: note, committed: now, expires: by.Expires}
		dirty[bucketOf(c.Partition)] = true
		m.met.commits.Inc()
	}
	if len(dirty) > 0 && !g.hasState {
		m.writeHeader(g)
	}
	m.writeBuckets(g, dirty)
	answer(m, done, &Committed{Codes: codes})
	return m.take()
}

func (m *Machine) commitCheck(g *group, now time.Time, by Committer) *kerr.Error {
	switch {
	case len(by.Group) > maxName:
		return kerr.InvalidGroupID
	case g == nil && by.Generation < 0:
		return nil
	case g == nil && by.Version >= groupNotFoundVersion:
		return kerr.GroupIDNotFound
	case g == nil:
		return kerr.IllegalGeneration
	case by.Generation < 0 && g.state == Empty:
		return nil
	}
	if by.Generation >= 0 || by.MemberID != "" || by.InstanceID != nil {
		if err := g.check(by.MemberID, by.InstanceID, by.Generation); err != nil {
			return err
		}
	} else {
		return kerr.UnknownMemberID // a stranger may not move the offsets of a group at work
	}
	if g.state == CompletingRebalance {
		// The partitions are nobody's until the new assignment is known.
		g.members[by.MemberID].heard(now)
		return kerr.RebalanceInProgress
	}
	g.members[by.MemberID].heard(now)
	m.touch(g, g.members[by.MemberID])
	return nil
}

// Fetched is one partition's committed position; Offset is -1 where nothing was ever committed.
type Fetched struct {
	Partition   topic.Partition
	Offset      int64
	LeaderEpoch int32
	Metadata    string
}

// Offsets handles OffsetFetch for the given partitions, or for all that have a commit if all is set. A
// group that does not exist has no commits; that is no error.
func (m *Machine) Offsets(id string, want []topic.Partition, all bool, done Done[[]Fetched]) coordinator.Result {
	g := m.get(id)
	var out []Fetched
	add := func(tp topic.Partition, o offset) {
		out = append(out, Fetched{tp, o.offset, o.leaderEpoch, o.metadata})
	}
	none := offset{offset: -1, leaderEpoch: -1}
	if all && g != nil {
		for t, ps := range g.offsets {
			for p, o := range ps {
				add(topic.Partition{ID: t, Index: p}, o)
			}
		}
	}
	for _, tp := range want {
		o := none
		if g != nil {
			if c, ok := g.offsets[tp.ID][tp.Index]; ok {
				o = c
			}
		}
		add(tp, o)
	}
	answer(m, done, &out)
	return m.take()
}

// DeleteOffsets handles OffsetDelete: topics a consumer group at work subscribes to are refused.
func (m *Machine) DeleteOffsets(id string, which []topic.Partition, done Done[Committed]) coordinator.Result {
	g := m.get(id)
	var err *kerr.Error
	switch {
	case id == "":
		err = kerr.InvalidGroupID
	case g == nil:
		err = kerr.GroupIDNotFound
	case len(g.members) > 0 && g.protocolType != consumerProtocol:
		err = kerr.NonEmptyGroup
	}
	if err != nil {
		answer(m, done, &Committed{Err: err})
		return m.take()
	}
	codes := make([]int16, len(which))
	dirty := map[bucketKey]bool{}
	for i, tp := range which {
		if len(g.members) > 0 {
			name, _ := m.opts.Topics.TopicName(tp.ID)
			if g.topics == nil || g.topics[name] {
				codes[i] = kerr.GroupSubscribedToTopic.Code
				continue
			}
		}
		if _, ok := g.offsets[tp.ID][tp.Index]; ok {
			g.forget(tp)
			dirty[bucketOf(tp)] = true
		}
	}
	m.writeBuckets(g, dirty)
	answer(m, done, &Committed{Codes: codes})
	return m.take()
}

func (g *group) forget(tp topic.Partition) {
	delete(g.offsets[tp.ID], tp.Index)
	if len(g.offsets[tp.ID]) == 0 {
		delete(g.offsets, tp.ID)
	}
}

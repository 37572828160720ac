package group

import (
	"cmp"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/coordinator"
)

// Describe handles DescribeGroups for one group; the empty id is one, too, for offsets alone. One that does not exist is Dead; callers of version 6
// and above are told so by an error.
func (m *Machine) Describe(id string, version int16, done Done[kmsg.DescribeGroupsResponseGroup]) coordinator.Result {
	resp := kmsg.NewDescribeGroupsResponseGroup()
	resp.Group = id
	g := m.get(id)
	switch {
	case g == nil:
		resp.State = string(Dead)
		if version >= 6 {
			resp.ErrorCode = kerr.GroupIDNotFound.Code
			resp.ErrorMessage = kmsg.StringPtr("group " + id + " not found")
		}
	default:
		resp.State, resp.ProtocolType = string(g.state), g.protocolType
		if g.state == Stable {
			resp.Protocol = g.protocol
		}
		for _, mb := range g.ordered() {
			rm := kmsg.NewDescribeGroupsResponseGroupMember()
			rm.MemberID, rm.ClientID, rm.ClientHost = mb.id, mb.clientID, mb.clientHost
			if mb.isStatic {
				rm.InstanceID = kmsg.StringPtr(mb.instanceID)
			}
			if g.state == Stable {
				rm.ProtocolMetadata, rm.MemberAssignment = mb.metadataFor(g.protocol), mb.assignment
			}
			resp.Members = append(resp.Members, rm)
		}
	}
	answer(m, done, &resp)
	return m.take()
}

// List handles ListGroups for this shard: all groups, or those in one of the states and of one of the types.
func (m *Machine) List(states, types filter, done Done[[]kmsg.ListGroupsResponseGroup]) coordinator.Result {
	var out []kmsg.ListGroupsResponseGroup
	for _, g := range m.groups {
		if g.forgettable() || !states.takes(string(g.state)) || !types.takes(classic) {
			continue
		}
		lg := kmsg.NewListGroupsResponseGroup()
		lg.Group, lg.ProtocolType, lg.GroupState, lg.GroupType = g.id, g.protocolType, string(g.state), classic
		out = append(out, lg)
	}
	slices.SortFunc(out, byGroup)
	answer(m, done, &out)
	return m.take()
}

func byGroup(a, b kmsg.ListGroupsResponseGroup) int { return cmp.Compare(a.Group, b.Group) }

// classic is the type of every group that rebalances by JoinGroup and SyncGroup.
const classic = "classic"

// filter is a set of names in lower case, of which an empty one takes all.
type filter map[string]bool

// newFilter makes a filter of what a request lists, which may be long.
func newFilter(list []string) filter {
	f := make(filter)
	for _, name := range list {
		f[strings.ToLower(strings.TrimSpace(name))] = true
	}
	return f
}

func (f filter) takes(name string) bool { return len(f) == 0 || f[strings.ToLower(name)] }

// Delete handles DeleteGroups for one group: it must exist and be empty. Its offsets go with it.
func (m *Machine) Delete(id string, done Done[Committed]) coordinator.Result {
	g := m.get(id)
	var err *kerr.Error
	switch {
	case g == nil:
		err = kerr.GroupIDNotFound
	case g.state != Empty:
		err = kerr.NonEmptyGroup
	default:
		m.erase(g)
	}
	answer(m, done, &Committed{Err: err})
	return m.take()
}

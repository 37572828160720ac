package api

import (
	"fmt"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// What a request names again and again is answered once: a small request has no huge answer.
func TestRepetitionsAreAnsweredOnce(t *testing.T) {
	c := newWhole(t)
	const times = 1000

	configs := kmsg.NewPtrDescribeConfigsRequest()
	configs.Version = 4
	groups := kmsg.NewPtrDescribeGroupsRequest()
	groups.Version = 5
	offsets := kmsg.NewPtrOffsetFetchRequest()
	offsets.Version = 8
	producers := kmsg.NewPtrDescribeProducersRequest()
	pt := kmsg.NewDescribeProducersRequestTopic()
	pt.Topic = "t"
	one := kmsg.NewOffsetFetchRequestGroup()
	ot := kmsg.NewOffsetFetchRequestGroupTopic()
	ot.Topic = "t"
	for range times {
		for kind, name := range map[kmsg.ConfigResourceType]string{kmsg.ConfigResourceTypeTopic: "t", kmsg.ConfigResourceTypeBroker: "2"} {
			r := kmsg.NewDescribeConfigsRequestResource()
			r.ResourceType, r.ResourceName = kind, name
			configs.Resources = append(configs.Resources, r)
		}
		groups.Groups = append(groups.Groups, "g")
		pt.Partitions = append(pt.Partitions, 0)
		ot.Partitions = append(ot.Partitions, 0)
		producers.Topics = append(producers.Topics, pt)
	}
	one.Group, one.Topics = "g", []kmsg.OffsetFetchRequestGroupTopic{ot, ot}
	all := kmsg.NewOffsetFetchRequestGroup()
	all.Group = "all"
	offsets.Groups = append(offsets.Groups, one, all, one, all)

	if r := call[*kmsg.DescribeConfigsResponse](t, c.api, configs); len(r.Resources) != 2 || len(r.Resources[0].Configs) == 0 {
		t.Errorf("%d resources", len(r.Resources))
	}
	if r := call[*kmsg.DescribeGroupsResponse](t, c.api, groups); len(r.Groups) != 1 || r.Groups[0].Group != "g" {
		t.Errorf("groups: %+v", r.Groups)
	}
	if r := call[*kmsg.DescribeProducersResponse](t, c.api, producers); len(r.Topics) != 1 || len(r.Topics[0].Partitions) != 1 {
		t.Errorf("producers of %d topics", len(r.Topics))
	}
	coordinators := kmsg.NewPtrFindCoordinatorRequest()
	coordinators.Version, coordinators.CoordinatorKeys = 6, slices.Repeat([]string{"g", "h"}, times)
	if r := call[*kmsg.FindCoordinatorResponse](t, newGroups(t).api, coordinators); len(r.Coordinators) != 2 || r.Coordinators[1].Key != "h" {
		t.Errorf("coordinators of %d groups", len(r.Coordinators))
	}
	r := call[*kmsg.OffsetFetchResponse](t, newGroups(t).api, offsets)
	if len(r.Groups) != 2 || len(r.Groups[0].Topics) != 1 || len(r.Groups[0].Topics[0].Partitions) != 1 || r.Groups[1].Group != "all" {
		t.Errorf("offsets: %+v", r.Groups)
	}
}

// A fetch that names one partition for as often as a frame has room waits for it once: what a request that waits takes is not
// charged to anybody, and all that wait for a partition hear of each batch.
func TestFetchOfAPartitionNamedOftenWaitsOnce(t *testing.T) {
	d := newDataTest(t)
	for _, v := range []int16{12, 13} {
		req := d.fetchRequest(v, "a", 0, 0, "a", 1, 0, "c", 0, 0)
		for range maxPooledParts {
			req.Topics = append(req.Topics, req.Topics[0])
			req.Topics[1].Partitions = append(req.Topics[1].Partitions, req.Topics[1].Partitions[0])
		}
		resp := call[*kmsg.FetchResponse](t, d.api, req)
		if p := parts(resp); len(resp.Topics) != 2 || len(p) != 3 || p[0].Partition != 0 || p[1].Partition != 1 || p[0].ErrorCode+p[1].ErrorCode+p[2].ErrorCode != 0 {
			t.Errorf("v%d: %d topics, %d partitions", v, len(resp.Topics), len(p))
		}
	}
}

// A topic that is there twice for other partitions is not a repetition: each partition has its answer.
func TestTopicInTwoPartsIsAnswered(t *testing.T) {
	c := newWhole(t)
	producers := kmsg.NewPtrDescribeProducersRequest()
	offsets := kmsg.NewPtrOffsetFetchRequest()
	offsets.Version = 8
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = "g"
	for _, parts := range [][]int32{{0, 1}, {1, 2}} {
		producers.Topics = append(producers.Topics, kmsg.DescribeProducersRequestTopic{Topic: "t", Partitions: parts})
		g.Topics = append(g.Topics, kmsg.OffsetFetchRequestGroupTopic{Topic: "t", Partitions: parts})
	}
	offsets.Groups = append(offsets.Groups, g)
	var got []int32
	for _, rt := range call[*kmsg.DescribeProducersResponse](t, c.api, producers).Topics {
		for _, p := range rt.Partitions {
			got = append(got, p.Partition)
		}
	}
	if !slices.Equal(got, []int32{0, 1, 2}) {
		t.Errorf("producers of %v", got)
	}
	got = nil
	for _, rt := range call[*kmsg.OffsetFetchResponse](t, newGroups(t).api, offsets).Groups[0].Topics {
		for _, p := range rt.Partitions {
			got = append(got, p.Partition)
		}
	}
	if !slices.Equal(got, []int32{0, 1, 2}) {
		t.Errorf("offsets of %v", got)
	}
}

// The second answer would be that there is no such group, of which clients may make the outcome.
func TestGroupIsDeletedOnce(t *testing.T) {
	c := newGroups(t)
	newGroupClient(t, c, 8).commit("", -1, 5)
	req := kmsg.NewPtrDeleteGroupsRequest()
	req.Version, req.Groups = 2, []string{"g", "none", "g"}
	r := call[*kmsg.DeleteGroupsResponse](t, c.api, req)
	if len(r.Groups) != 2 || r.Groups[0].ErrorCode != 0 || r.Groups[1].ErrorCode != kerr.GroupIDNotFound.Code {
		t.Errorf("%+v", r.Groups)
	}
}

// A broker has one name: "02" and "+2" would be as many answers as there are ways to write a number.
func TestBrokerResourceHasOneName(t *testing.T) {
	for name, want := range map[string]int32{"": allBrokers, "0": 0, "2": 2, "2147483647": 1<<31 - 1} {
		if id, err := brokerResource(name); err != nil || id != want {
			t.Errorf("%q: %d %v", name, id, err)
		}
	}
	for _, name := range []string{"02", "+2", "-1", "-0", "2147483648", "x", " 2"} {
		if id, err := brokerResource(name); code(err) != kerr.InvalidRequest.Code {
			t.Errorf("%q: %d %v", name, id, err)
		}
	}
}

// Topics that are only to be validated have answers as long as those that are made, so they are bounded likewise.
func TestCreateTopicsBoundsPartitions(t *testing.T) {
	for many, want := range map[int]*kerr.Error{maxCreatedPartitions: nil, maxCreatedPartitions + 1: kerr.PolicyViolation} {
		c := newCluster(t)
		req := kmsg.NewPtrCreateTopicsRequest()
		req.Version, req.ValidateOnly = 7, true
		for i := range many / 10 {
			req.Topics = append(req.Topics, newTopicReq(fmt.Sprint("t", i), 10, 1))
		}
		if rest := many % 10; rest > 0 {
			req.Topics = append(req.Topics, newTopicReq("rest", int32(rest), -1))
		}
		resp := call[*kmsg.CreateTopicsResponse](t, c.api, req)
		for _, i := range []int{0, len(resp.Topics) - 1} {
			wantCode(t, fmt.Sprint(many, " partitions"), resp.Topics[i].ErrorCode, want)
		}
	}
}

// New partitions count, not those that there are, and one topic alone can be too many.
func TestCreatePartitionsBoundsPartitions(t *testing.T) {
	for many, want := range map[int32]*kerr.Error{maxCreatedPartitions / 2: nil, maxCreatedPartitions/2 + 1: kerr.PolicyViolation} {
		c := newCluster(t)
		req := kmsg.NewPtrCreatePartitionsRequest()
		req.Version = 3
		for _, name := range []string{"x", "y"} {
			c.addTopic(name, 100, 1)
			rt := kmsg.NewCreatePartitionsRequestTopic()
			rt.Topic, rt.Count = name, 100+many
			req.Topics = append(req.Topics, rt)
		}
		for _, rt := range call[*kmsg.CreatePartitionsResponse](t, c.api, req).Topics {
			wantCode(t, fmt.Sprint(many, " partitions each"), rt.ErrorCode, want)
		}
		if asked := len(c.ctl.more); asked > 0 != (want == nil) {
			t.Errorf("%d partitions each: the controller was asked for %d topics", many, asked)
		}
	}
}

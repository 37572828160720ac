package api

import (
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/controller"
	"firn/metadata"
	"firn/metadata/topic"
)

const (
	topicType  = kmsg.ConfigResourceTypeTopic
	brokerType = kmsg.ConfigResourceTypeBroker
)

// describe asks for the settings of one resource with everything that can be told.
func describe(t *testing.T, c *cluster, version int16, kind kmsg.ConfigResourceType, name string, settings ...string) kmsg.DescribeConfigsResponseResource {
	t.Helper()
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.Version, req.IncludeSynonyms, req.IncludeDocumentation = version, true, true
	r := kmsg.NewDescribeConfigsRequestResource()
	r.ResourceType, r.ResourceName, r.ConfigNames = kind, name, settings
	req.Resources = append(req.Resources, r)
	resp := call[*kmsg.DescribeConfigsResponse](t, c.api, req)
	if len(resp.Resources) != 1 || resp.Resources[0].ResourceName != name || resp.Resources[0].ResourceType != kind {
		t.Fatalf("got %+v", resp.Resources)
	}
	return resp.Resources[0]
}

func setting(t *testing.T, r kmsg.DescribeConfigsResponseResource, name string) kmsg.DescribeConfigsResponseResourceConfig {
	t.Helper()
	for _, c := range r.Configs {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("%s is not described", name)
	return kmsg.DescribeConfigsResponseResourceConfig{}
}

func TestDescribeConfigsOfTopic(t *testing.T) {
	for v := int16(1); v <= 4; v++ {
		c := newCluster(t)
		id := c.addTopic("a", 1, 1)
		keys := c.store.Keys()
		c.write(keys.PutSettings(keys.TopicSettings(id), metadata.Settings{Values: map[string]string{"retention.ms": "5000"}}),
			keys.PutSettings(keys.ClusterSettings(), metadata.Settings{Values: map[string]string{"log.retention.ms": "6000"}}))
		r := describe(t, c, v, topicType, "a")
		if r.ErrorCode != 0 || len(r.Configs) != len(topic.Defs) {
			t.Fatalf("v%d: code %d, %d settings", v, r.ErrorCode, len(r.Configs))
		}
		ret := setting(t, r, "retention.ms")
		if *ret.Value != "5000" || ret.Source != kmsg.ConfigSourceDynamicTopicConfig || ret.ReadOnly || ret.IsSensitive {
			t.Errorf("v%d: %+v", v, ret)
		}
		var chain []string
		for _, s := range ret.ConfigSynonyms {
			chain = append(chain, s.Source.String()+" "+s.Name+"="+*s.Value)
		}
		want := []string{"DYNAMIC_TOPIC_CONFIG retention.ms=5000", "DYNAMIC_DEFAULT_BROKER_CONFIG log.retention.ms=6000"}
		if len(chain) < 3 || !slices.Equal(chain[:2], want) || !strings.HasPrefix(chain[len(chain)-1], "DEFAULT_CONFIG log.retention.ms=") {
			t.Errorf("v%d: synonyms %q", v, chain)
		}
		if v >= 3 && (ret.ConfigType != kmsg.ConfigTypeLong || ret.Documentation == nil || *ret.Documentation == "") {
			t.Errorf("v%d: %+v", v, ret)
		}
		// What is accepted without effect says so.
		if v >= 3 {
			for _, d := range topic.Defs {
				if doc := *setting(t, r, d.Name).Documentation; !d.Effect && !strings.Contains(doc, "without effect") {
					t.Errorf("%s does not say that it is without effect: %s", d.Name, doc)
				}
			}
		}
	}
}

func TestDescribeConfigsTellsWhatIsAskedFor(t *testing.T) {
	c := newCluster(t)
	c.addTopic("a", 1, 1)
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.Version = 4
	r := kmsg.NewDescribeConfigsRequestResource()
	r.ResourceType, r.ResourceName, r.ConfigNames = topicType, "a", []string{"retention.ms", "no.such.thing"}
	req.Resources = append(req.Resources, r)
	got := call[*kmsg.DescribeConfigsResponse](t, c.api, req).Resources[0].Configs
	if len(got) != 1 || got[0].Name != "retention.ms" || got[0].Documentation != nil || len(got[0].ConfigSynonyms) != 0 {
		t.Errorf("got %+v", got)
	}
	req.Resources[0].ConfigNames = []string{} // means all, as null does
	if got := call[*kmsg.DescribeConfigsResponse](t, c.api, req).Resources[0].Configs; len(got) != len(topic.Defs) {
		t.Errorf("%d settings", len(got))
	}
}

func TestDescribeConfigsOfBroker(t *testing.T) {
	c := newCluster(t)
	keys := c.store.Keys()
	r := describe(t, c, 4, brokerType, "1")
	if len(r.Configs) != 3 {
		t.Fatalf("got %+v", r)
	}
	secret, ret, null := setting(t, r, "etcd.password"), setting(t, r, "log.retention.ms"), setting(t, r, "tier.url")
	if secret.Value != nil || !secret.IsSensitive || !secret.ReadOnly || secret.ConfigSynonyms[0].Value != nil || secret.ConfigType != kmsg.ConfigTypePassword {
		t.Errorf("secret: %+v", secret)
	}
	if *ret.Value != "1000" || ret.ReadOnly || ret.Source != kmsg.ConfigSourceStaticBrokerConfig {
		t.Errorf("dynamic: %+v", ret)
	}
	if null.Value != nil || null.IsSensitive || !null.ReadOnly || null.Source != kmsg.ConfigSourceDefaultConfig {
		t.Errorf("null: %+v", null)
	}
	if r := describe(t, c, 4, brokerType, ""); r.ErrorCode != 0 || len(r.Configs) != 0 {
		t.Errorf("of all brokers: %+v", r)
	}
	c.write(keys.PutSettings(keys.ClusterSettings(), metadata.Settings{Values: map[string]string{"log.retention.ms": "6000"}}))
	all := setting(t, describe(t, c, 4, brokerType, ""), "log.retention.ms")
	if *all.Value != "6000" || all.Source != kmsg.ConfigSourceDynamicDefaultBrokerConfig || len(all.ConfigSynonyms) != 1 || all.ReadOnly {
		t.Errorf("of all brokers: %+v", all)
	}
	own := setting(t, describe(t, c, 4, brokerType, "1"), "log.retention.ms")
	if *own.Value != "6000" || len(own.ConfigSynonyms) != 2 {
		t.Errorf("of this broker: %+v", own)
	}
}

func TestDescribeConfigsErrors(t *testing.T) {
	c := newCluster(t)
	for _, tt := range []struct {
		kind kmsg.ConfigResourceType
		name string
		want *kerr.Error
	}{
		{topicType, "unknown", kerr.UnknownTopicOrPartition},
		{topicType, "in/valid", kerr.InvalidTopicException},
		{brokerType, "2", kerr.InvalidRequest},
		{brokerType, "one", kerr.InvalidRequest},
		{kmsg.ConfigResourceTypeBrokerLogger, "1", kerr.InvalidRequest},
		{kmsg.ConfigResourceTypeGroupConfig, "g", kerr.InvalidRequest},
		{99, "", kerr.InvalidRequest},
	} {
		r := describe(t, c, 4, tt.kind, tt.name)
		wantCode(t, tt.kind.String()+" "+tt.name, r.ErrorCode, tt.want)
		if r.ErrorMessage == nil || len(r.Configs) != 0 {
			t.Errorf("%s: %+v", tt.name, r)
		}
	}
}

func TestIncrementalAlterConfigs(t *testing.T) {
	for v := int16(0); v <= 1; v++ {
		c := newCluster(t)
		c.addTopic("a", 1, 1)
		req := kmsg.NewPtrIncrementalAlterConfigsRequest()
		req.Version, req.ValidateOnly = v, v == 1
		r := kmsg.NewIncrementalAlterConfigsRequestResource()
		r.ResourceType, r.ResourceName = topicType, "a"
		for i, op := range []kmsg.IncrementalAlterConfigOp{0, 1, 2, 3} {
			ch := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
			ch.Name, ch.Op = string(rune('a'+i)), op
			if op != kmsg.IncrementalAlterConfigOpDelete {
				ch.Value = ptr("v")
			}
			r.Configs = append(r.Configs, ch)
		}
		req.Resources = append(req.Resources, r)
		resp := call[*kmsg.IncrementalAlterConfigsResponse](t, c.api, req)
		if resp.Resources[0].ErrorCode != 0 || resp.Resources[0].ErrorMessage != nil {
			t.Errorf("v%d: %+v", v, resp.Resources[0])
		}
		want := []controller.SettingChange{
			{Name: "a", Op: controller.SettingSet, Value: "v"},
			{Name: "b", Op: controller.SettingDelete},
			{Name: "c", Op: controller.SettingAppend, Value: "v"},
			{Name: "d", Op: controller.SettingSubtract, Value: "v"},
		}
		if got := c.ctl.alter; len(got) != 1 || got[0].Topic != "a" || got[0].Replace || !slices.Equal(got[0].Changes, want) || c.ctl.dry[0] != (v == 1) {
			t.Errorf("v%d: asked for %+v", v, got)
		}
	}
}

func TestIncrementalAlterConfigsErrors(t *testing.T) {
	c := newCluster(t)
	for _, n := range []string{"a", "b", "refused", "setting"} {
		c.addTopic(n, 1, 1)
	}
	c.ctl.errs["refused"] = controller.ErrConfig
	c.ctl.errs["setting"] = &topic.Error{Key: "retention.ms", Value: "x", Allowed: "a number"}
	set := kmsg.IncrementalAlterConfigsRequestResourceConfig{Name: "retention.ms", Value: ptr("1")}
	type resource = kmsg.IncrementalAlterConfigsRequestResource
	type configs = []kmsg.IncrementalAlterConfigsRequestResourceConfig
	tests := []struct {
		res  resource
		want *kerr.Error
	}{
		{resource{ResourceType: topicType, ResourceName: "a", Configs: configs{set}}, kerr.InvalidRequest}, // twice
		{resource{ResourceType: topicType, ResourceName: "a", Configs: configs{set}}, kerr.InvalidRequest},
		{resource{ResourceType: topicType, ResourceName: "b", Configs: configs{set, set}}, kerr.InvalidRequest},
		{resource{ResourceType: topicType, ResourceName: "unknown", Configs: configs{set}}, kerr.UnknownTopicOrPartition},
		{resource{ResourceType: topicType, ResourceName: "in valid", Configs: configs{set}}, kerr.InvalidTopicException},
		{resource{ResourceType: topicType, ResourceName: "refused", Configs: configs{set}}, kerr.InvalidConfig},
		{resource{ResourceType: topicType, ResourceName: "setting", Configs: configs{set}}, kerr.InvalidConfig},
		{resource{ResourceType: brokerType, ResourceName: "1", Configs: configs{set}}, nil},
		{resource{ResourceType: brokerType, ResourceName: "", Configs: configs{set}}, nil},
		{resource{ResourceType: brokerType, ResourceName: "one", Configs: configs{set}}, kerr.InvalidRequest},
		{resource{ResourceType: kmsg.ConfigResourceTypeBrokerLogger, ResourceName: "1", Configs: configs{set}}, kerr.InvalidRequest},
		{resource{ResourceType: brokerType, ResourceName: "7", Configs: configs{set}}, kerr.BrokerIDNotRegistered},
		{resource{ResourceType: brokerType, ResourceName: "3", Configs: configs{{Name: "x", Op: 4, Value: ptr("1")}}}, kerr.InvalidRequest},
		{resource{ResourceType: brokerType, ResourceName: "4", Configs: configs{{Name: "x"}}}, kerr.InvalidRequest},
	}
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.Version = 1
	for _, tt := range tests {
		req.Resources = append(req.Resources, tt.res)
	}
	resp := call[*kmsg.IncrementalAlterConfigsResponse](t, c.api, req)
	for i, tt := range tests {
		rr := resp.Resources[i]
		wantCode(t, rr.ResourceName, rr.ErrorCode, tt.want)
		if (rr.ErrorMessage == nil) != (tt.want == nil) || rr.ResourceType != tt.res.ResourceType {
			t.Errorf("%+v", rr)
		}
	}
	if got := c.ctl.alter; len(got) != 4 || got[2].Broker != 1 || got[3].Broker != -1 {
		t.Errorf("asked for %+v", got)
	}
}

func TestAlterConfigs(t *testing.T) {
	for v := int16(0); v <= 2; v++ {
		c := newCluster(t)
		c.addTopic("a", 1, 1)
		c.addTopic("null", 1, 1)
		req := kmsg.NewPtrAlterConfigsRequest()
		req.Version, req.ValidateOnly = v, v == 1
		for _, n := range []string{"a", "null", "unknown"} {
			r := kmsg.NewAlterConfigsRequestResource()
			r.ResourceType, r.ResourceName = topicType, n
			ch := kmsg.NewAlterConfigsRequestResourceConfig()
			ch.Name = "retention.ms"
			if n != "null" {
				ch.Value = ptr("7")
			}
			r.Configs = append(r.Configs, ch)
			req.Resources = append(req.Resources, r)
		}
		resp := call[*kmsg.AlterConfigsResponse](t, c.api, req)
		wantCodes(t, []int16{resp.Resources[0].ErrorCode, resp.Resources[1].ErrorCode, resp.Resources[2].ErrorCode},
			nil, kerr.InvalidRequest, kerr.UnknownTopicOrPartition)
		want := []controller.SettingChange{{Name: "retention.ms", Op: controller.SettingSet, Value: "7"}}
		if got := c.ctl.alter; len(got) != 1 || !got[0].Replace || !slices.Equal(got[0].Changes, want) || c.ctl.dry[0] != (v == 1) {
			t.Errorf("v%d: asked for %+v", v, got)
		}
	}
}

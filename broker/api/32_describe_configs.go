package api

import (
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/wire"
	"firn/metadata"
	"firn/metadata/topic"
)

// DescribeConfigs (key 32), versions 1-4.
//
// The settings in force of topics, of this broker, or (by the empty name) those made at run time for
// all brokers: value, source (topic, broker or all brokers at run time, flags or file, default),
// whether it can be changed at run time, its type, and if asked for its documentation and every place
// that gives it a value. A null or empty list of names means all settings; unknown names are left out.
// Settings that are accepted without effect say so in their documentation. Passwords and keys are
// never told.
//
//   - v3: types and documentation.
//   - A broker resource must name the broker that is asked, else INVALID_REQUEST. A resource that is there twice is
//     described once.
func init() { register(kmsg.DescribeConfigs, 1, 4, (*API).describeConfigs) }

func (a *API) describeConfigs(req *wire.Request, body *kmsg.DescribeConfigsRequest) {
	resp := kmsg.NewPtrDescribeConfigsResponse()
	im := a.admin.Image()
	body.Resources = firsts(body.Resources, func(r *kmsg.DescribeConfigsRequestResource) resource {
		return resource{kind: r.ResourceType, name: r.ResourceName}
	})
	for i := range body.Resources {
		r := &body.Resources[i]
		rr := kmsg.NewDescribeConfigsResponseResource()
		rr.ResourceType, rr.ResourceName = r.ResourceType, r.ResourceName
		d := describer{body: body, names: r.ConfigNames}
		var err error
		switch r.ResourceType {
		case kmsg.ConfigResourceTypeTopic:
			err = a.describeTopic(&d, im, r.ResourceName)
		case kmsg.ConfigResourceTypeBroker:
			err = a.describeBroker(&d, im, r.ResourceName)
		default:
			err = unknownResource(r.ResourceType)
		}
		rr.ErrorCode, rr.ErrorMessage = a.outcome(err, "describe settings", r.ResourceName)
		rr.Configs = d.out
		resp.Resources = append(resp.Resources, rr)
	}
	req.Reply(resp)
}

func (a *API) describeTopic(d *describer, im *metadata.Image, name string) error {
	if err := topic.ValidateName(name); err != nil {
		return err
	}
	t, ok := im.Topic(name)
	if !ok {
		return refusal(kerr.UnknownTopicOrPartition, "there is no topic of this name")
	}
	for _, v := range topic.Resolve(im.TopicOverrides(t.ID), a.admin.TopicDefaults(im)) {
		d.add(BrokerSetting{
			Name: v.Def.Name, Type: v.Def.Type, Doc: v.Def.Doc, Dynamic: true,
			Value: v.Value, Source: v.Source, Chain: v.Chain,
		})
	}
	return nil
}

func (a *API) describeBroker(d *describer, im *metadata.Image, name string) error {
	id, err := brokerResource(name)
	switch {
	case err != nil:
		return err
	case id != allBrokers && id != a.admin.BrokerID:
		return refusal(kerr.InvalidRequest, fmt.Sprintf("this is broker %d; settings of broker %d are described by itself", a.admin.BrokerID, id))
	}
	for _, s := range a.admin.BrokerSettings(im) {
		if id == allBrokers {
			v, ok := im.ClusterOverrides()[s.Name]
			if !ok {
				continue
			}
			s.Value, s.Null, s.Source = v, false, topic.SourceClusterDefault
			s.Chain = []topic.Origin{{Name: s.Name, Value: v, Source: topic.SourceClusterDefault}}
		}
		d.add(s)
	}
	return nil
}

// describer collects the settings of one resource.
type describer struct {
	body  *kmsg.DescribeConfigsRequest
	names []string
	out   []kmsg.DescribeConfigsResponseResourceConfig
}

func (d *describer) add(s BrokerSetting) {
	if len(d.names) > 0 && !slices.Contains(d.names, s.Name) {
		return
	}
	c := kmsg.NewDescribeConfigsResponseResourceConfig()
	c.Name, c.ReadOnly, c.IsSensitive = s.Name, !s.Dynamic, s.Sensitive
	c.Source, c.ConfigType = kmsg.ConfigSource(s.Source), kmsg.ConfigType(s.Type)
	c.IsDefault = s.Source == topic.SourceDefault
	if !s.Null && !s.Sensitive {
		c.Value = &s.Value
	}
	if d.body.IncludeDocumentation {
		c.Documentation = &s.Doc
	}
	if d.body.IncludeSynonyms {
		for _, o := range s.Chain {
			sy := kmsg.NewDescribeConfigsResponseResourceConfigConfigSynonym()
			sy.Name, sy.Source = o.Name, kmsg.ConfigSource(o.Source)
			if !s.Sensitive {
				sy.Value = &o.Value
			}
			c.ConfigSynonyms = append(c.ConfigSynonyms, sy)
		}
	}
	d.out = append(d.out, c)
}

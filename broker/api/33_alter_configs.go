package api

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/controller"
	"firn/broker/wire"
)

// AlterConfigs (key 33), versions 0-2.
//
// Replaces all settings of a topic, or all run-time settings of a broker or (by the empty name) of all
// brokers: what is not in the request goes back to its default. validate_only checks and changes
// nothing. A resource or a setting that is there twice, or a setting without a value, is
// INVALID_REQUEST; an unknown setting or value is INVALID_CONFIG.
//
// Clients should use IncrementalAlterConfigs, which does not overwrite what others have set.
func init() { registerByController(kmsg.AlterConfigs, 0, 2, (*API).alterConfigs) }

func (a *API) alterConfigs(req *wire.Request, body *kmsg.AlterConfigsRequest) {
	resp := kmsg.NewPtrAlterConfigsResponse()
	resources := make([]resource, len(body.Resources))
	for i := range body.Resources {
		r := &body.Resources[i]
		resources[i] = resource{kind: r.ResourceType, name: r.ResourceName}
		rr := kmsg.NewAlterConfigsResponseResource()
		rr.ResourceType, rr.ResourceName = r.ResourceType, r.ResourceName
		resp.Resources = append(resp.Resources, rr)
	}
	changes := func(i int) ([]controller.SettingChange, error) {
		var list []controller.SettingChange
		for _, c := range body.Resources[i].Configs {
			if c.Value == nil {
				return nil, refusal(kerr.InvalidRequest, fmt.Sprintf("setting %s has no value", c.Name))
			}
			list = append(list, controller.SettingChange{Name: c.Name, Op: controller.SettingSet, Value: *c.Value})
		}
		return list, nil
	}
	a.alterAll(resources, body.ValidateOnly, true, changes, func(i int, err error) {
		rr := &resp.Resources[i]
		rr.ErrorCode, rr.ErrorMessage = a.outcome(err, "alter settings", rr.ResourceName)
	})
	req.Reply(resp)
}

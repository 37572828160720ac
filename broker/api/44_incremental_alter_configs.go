package api

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/controller"
	"firn/broker/wire"
)

// IncrementalAlterConfigs (key 44), versions 0-1.
//
// Changes single settings of a topic, of a broker at run time, or (by the empty name) of all brokers:
// SET, DELETE (back to the default), and for lists APPEND and SUBTRACT. The changes of one resource
// are made together or not at all. validate_only checks and changes nothing.
//
// A resource or a setting that is there twice, an unknown operation, or a missing value but for DELETE
// is INVALID_REQUEST; an unknown setting, a bad value, or APPEND and SUBTRACT on what is no list is
// INVALID_CONFIG, also for a broker's settings, where Kafka says INVALID_REQUEST.
func init() { registerByController(kmsg.IncrementalAlterConfigs, 0, 1, (*API).incrementalAlterConfigs) }

func (a *API) incrementalAlterConfigs(req *wire.Request, body *kmsg.IncrementalAlterConfigsRequest) {
	resp := kmsg.NewPtrIncrementalAlterConfigsResponse()
	resources := make([]resource, len(body.Resources))
	for i := range body.Resources {
		r := &body.Resources[i]
		resources[i] = resource{kind: r.ResourceType, name: r.ResourceName}
		rr := kmsg.NewIncrementalAlterConfigsResponseResource()
		rr.ResourceType, rr.ResourceName = r.ResourceType, r.ResourceName
		resp.Resources = append(resp.Resources, rr)
	}
	changes := func(i int) ([]controller.SettingChange, error) {
		return settingChanges(body.Resources[i].Configs)
	}
	a.alterAll(resources, body.ValidateOnly, false, changes, func(i int, err error) {
		rr := &resp.Resources[i]
		rr.ErrorCode, rr.ErrorMessage = a.outcome(err, "alter settings", rr.ResourceName)
	})
	req.Reply(resp)
}

func settingChanges(configs []kmsg.IncrementalAlterConfigsRequestResourceConfig) ([]controller.SettingChange, error) {
	var list []controller.SettingChange
	for _, c := range configs {
		ch := controller.SettingChange{Name: c.Name, Op: controller.SettingOp(c.Op)}
		switch {
		case c.Op < kmsg.IncrementalAlterConfigOpSet || c.Op > kmsg.IncrementalAlterConfigOpSubtract:
			return nil, refusal(kerr.InvalidRequest, fmt.Sprintf("setting %s: there is no operation %d", c.Name, c.Op))
		case c.Op == kmsg.IncrementalAlterConfigOpDelete:
		case c.Value == nil:
			return nil, refusal(kerr.InvalidRequest, fmt.Sprintf("setting %s has no value", c.Name))
		default:
			ch.Value = *c.Value
		}
		list = append(list, ch)
	}
	return list, nil
}

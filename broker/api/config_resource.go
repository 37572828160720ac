package api

import (
	"fmt"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/controller"
	"firn/metadata/topic"
)

// Settings belong to resources: a topic by its name, a broker by its id, or all brokers by the empty
// name. Kafka's other resources (broker loggers, client metrics, groups) are not known here.

// allBrokers is the id that stands for every broker.
const allBrokers = -1

// brokerResource returns the id of a broker resource, allBrokers for the empty name.
func brokerResource(name string) (int32, error) {
	if name == "" {
		return allBrokers, nil
	}
	id, err := strconv.ParseInt(name, 10, 32)
	if err != nil || id < 0 || strconv.FormatInt(id, 10) != name { // one broker has one name
		return 0, refusal(kerr.InvalidRequest, fmt.Sprintf("%q is no broker id", name))
	}
	return int32(id), nil
}

// unknownResource refuses a type of resource.
func unknownResource(t kmsg.ConfigResourceType) error {
	return refusal(kerr.InvalidRequest, fmt.Sprintf("settings of resource type %d (%s) are not supported", t, t))
}

// topicResource checks the name of a topic resource.
func (a *API) topicResource(name string) error {
	if err := topic.ValidateName(name); err != nil {
		return err
	}
	if _, ok := a.admin.Image().Topic(name); !ok {
		return refusal(kerr.UnknownTopicOrPartition, "there is no topic of this name")
	}
	return nil
}

// resource names what a request wants changed.
type resource struct {
	kind kmsg.ConfigResourceType
	name string
}

// alteration turns a resource and its changes into the controller's form.
func (a *API) alteration(r resource, changes []controller.SettingChange, replace bool) (controller.AlterSettings, error) {
	alter := controller.AlterSettings{Changes: changes, Replace: replace}
	switch r.kind {
	case kmsg.ConfigResourceTypeTopic:
		alter.Topic = r.name
		if err := a.topicResource(r.name); err != nil {
			return alter, err
		}
	case kmsg.ConfigResourceTypeBroker:
		id, err := brokerResource(r.name)
		if err != nil {
			return alter, err
		}
		if _, ok := a.admin.Image().Node(id); !ok && id != allBrokers {
			return alter, refusal(kerr.BrokerIDNotRegistered, fmt.Sprintf("there is no broker %d", id))
		}
		alter.Broker = id
	default:
		return alter, unknownResource(r.kind)
	}
	seen := map[string]bool{}
	for _, c := range changes {
		if seen[c.Name] {
			return alter, refusal(kerr.InvalidRequest, fmt.Sprintf("setting %s is changed more than once", c.Name))
		}
		seen[c.Name] = true
	}
	return alter, nil
}

// alterAll changes the settings of several resources, each for itself, and calls done with the index
// and outcome of each. A resource that is there twice is refused in both places.
func (a *API) alterAll(resources []resource, validateOnly bool, replace bool,
	changes func(i int) ([]controller.SettingChange, error), done func(i int, err error),
) {
	times := map[resource]int{}
	for _, r := range resources {
		times[r]++
	}
	var alter []controller.AlterSettings
	var slots []int
	for i, r := range resources {
		if times[r] > 1 {
			done(i, refusal(kerr.InvalidRequest, "each resource may appear only once"))
			continue
		}
		list, err := changes(i)
		var one controller.AlterSettings
		if err == nil {
			one, err = a.alteration(r, list, replace)
		}
		if err != nil {
			done(i, err)
			continue
		}
		alter, slots = append(alter, one), append(slots, i)
	}
	if len(alter) == 0 {
		return
	}
	ctx, cancel := adminContext(int32(defaultAdminTimeout.Milliseconds()))
	defer cancel()
	for i, err := range a.admin.Controller.AlterSettings(ctx, alter, validateOnly) {
		done(slots[i], err)
	}
}

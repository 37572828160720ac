package metadata

import (
	"net"
	"strconv"
	"time"
)

// UUID is a disk's or incarnation's identity.
type UUID [16]byte

// Listener is one address a broker can be reached at.
type Listener struct {
	Name     string // as in listeners=NAME://...
	Protocol string // PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL
	Host     string // as advertised to clients
	Port     int32
}

// String returns the listener as settings have it.
func (l Listener) String() string {
	return l.Name + "://" + net.JoinHostPort(l.Host, strconv.Itoa(int(l.Port)))
}

// Broker is a live broker: what its registration b/<id> says while its lease lasts.
type Broker struct {
	ID          int32
	Epoch       int64 // broker epoch: the revision that created the registration
	Incarnation UUID  // one per process start
	Listeners   []Listener
	Rack        string
	Version     string // Firn's version, for people
	Disks       []UUID
	Started     time.Time // when it registered, by its own clock; for people
	Rev         int64     // revision of the record

	extra []byte // fields of a later version, kept on rewrite
}

// Listener returns the listener of that name, or the first one if name is empty.
func (b *Broker) Listener(name string) (Listener, bool) {
	for _, l := range b.Listeners {
		if name == "" || l.Name == name {
			return l, true
		}
	}
	return Listener{}, false
}

// NodeState is an operator's or the controller's word on a broker.
type NodeState int8

// The states of a node.
const (
	NodeLive     NodeState = iota // may lead and join in-sync sets
	NodeDraining                  // is handing over its leaderships; may not join
	NodeGone                      // unregistered for good
)

// Loss says what a broker's disks may have lost since it last held an epoch, and that the controller has
// not yet acted on it.
type Loss int8

// What may be missing. A higher value includes the lower.
const (
	LossNone    Loss = iota
	LossRelaxed      // another boot without a clean stop: writes that had not reached the disk
	LossAll          // a new disk, or an old copy of one: anything
)

// Node is the lasting record n/<id> of a broker, kept when its lease is gone.
type Node struct {
	ID        int32
	LastEpoch int64 // broker epoch of the newest registration; 0 until its first one committed
	BootID    string
	Rack      string
	Disks     []UUID
	State     NodeState
	Loss      Loss // merged over registrations until the controller has handled it
	// Relaxed says that by its own settings, where nothing set at run time or on the topic says otherwise, the broker
	// acknowledges before its disk has it, or did so in the life that Loss speaks of.
	Relaxed bool
	Rev     int64

	extra []byte
}

// Cluster is the record every broker reads first.
type Cluster struct {
	ID           string // Kafka's cluster id: 22 characters of URL-safe base64
	FeatureLevel int32
	GroupShards  int32
	TxnShards    int32
	ShareShards  int32
	Rev          int64

	extra []byte
}

// ControllerState says who the controller is.
type ControllerState struct {
	ID          int32 // -1: nobody
	BrokerEpoch int64 // of the broker that holds it
	Epoch       int64 // controller epoch: the revision that created ctl; 0 if nobody
}

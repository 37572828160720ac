package api

import (
	"fmt"
	"sort"

	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/wire"
)

// entry is a served API key. It is made by the init of the key's file and never changes.
type entry struct {
	key      kmsg.Key
	min, max int16 // what is served, inclusive
	// listMin is what ApiVersions lists as the lowest version: min, but for Produce.
	listMin int16
	kind    kind
	// hidden keys are for other brokers: ApiVersions does not list them.
	hidden bool
	serve  func(*API, *wire.Request)
}

// kind is where and by whom a key is served.
type kind int8

const (
	quick        kind = iota // on the connection's reader: it must not block
	blocking                 // on a goroutine of its own
	byController             // the same, on the broker that is the controller (forward.go), before what is sent next
)

// entries is the version table by key.
var entries = map[int16]entry{}

// register serves versions min to max of a key by fn, which must not block.
func register[B kmsg.Request](key kmsg.Key, min, max int16, fn func(*API, *wire.Request, B)) {
	add(key, min, max, quick, fn)
}

// registerBlocking serves versions min to max of a key by fn, which may block.
func registerBlocking[B kmsg.Request](key kmsg.Key, min, max int16, fn func(*API, *wire.Request, B)) {
	add(key, min, max, blocking, fn)
}

// registerByController serves versions min to max of a key by fn, which may block, on the controller; other brokers
// forward them there. fn answers before it returns.
func registerByController[B kmsg.Request](key kmsg.Key, min, max int16, fn func(*API, *wire.Request, B)) {
	add(key, min, max, byController, fn)
}

// hide keeps ApiVersions from listing a key.
func hide(key kmsg.Key) {
	e := entries[key.Int16()]
	e.hidden = true
	entries[key.Int16()] = e
}

// listFrom makes ApiVersions list a key from version listed although versions below its min are
// refused.
func listFrom(key kmsg.Key, listed int16) {
	e := entries[key.Int16()]
	e.listMin = listed
	entries[key.Int16()] = e
}

func add[B kmsg.Request](key kmsg.Key, min, max int16, kind kind, fn func(*API, *wire.Request, B)) {
	var body B
	if _, taken := entries[key.Int16()]; taken || body.Key() != key.Int16() || min > max || max > body.MaxVersion() {
		panic(fmt.Sprintf("api: bad registration of %s %d-%d", key.Name(), min, max))
	}
	entries[key.Int16()] = entry{
		key: key, min: min, max: max, listMin: min, kind: kind,
		serve: func(a *API, req *wire.Request) { fn(a, req, req.Body.(B)) },
	}
}

// Served is one row of the version table.
type Served struct {
	Key kmsg.Key
	// Listed is the lowest version ApiVersions lists; versions from Listed up to Min are refused.
	Listed, Min, Max int16
	// Hidden keys are for other brokers and not listed.
	Hidden bool
}

// Versions returns the version table, ordered by key.
func Versions() []Served {
	list := make([]Served, 0, len(entries))
	for _, e := range entries {
		list = append(list, Served{Key: e.key, Listed: e.listMin, Min: e.min, Max: e.max, Hidden: e.hidden})
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Key < list[j].Key })
	return list
}

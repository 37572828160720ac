package broker

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
)

// plaintext is the one protocol that is served so far.
const plaintext = "PLAINTEXT"

// parseListeners reads a comma-separated list of NAME://host:port. Names are taken in upper case, as Kafka
// does. An IPv6 address stands in brackets, an empty host is every address.
func parseListeners(v string) ([]Listener, error) {
	var ls []Listener
	for _, s := range splitList(v) {
		l, err := parseListener(s)
		if err != nil {
			return nil, err
		}
		ls = append(ls, l)
	}
	return ls, nil
}

func parseListener(s string) (Listener, error) {
	name, addr, ok := strings.Cut(s, "://")
	if !ok || name == "" {
		return Listener{}, fmt.Errorf("listener %q has no NAME://", s)
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return Listener{}, fmt.Errorf("listener %q: %w", s, err)
	}
	if strings.ContainsAny(host, " /@") {
		return Listener{}, fmt.Errorf("listener %q: %q is no host", s, host)
	}
	p, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return Listener{}, fmt.Errorf("listener %q: port: %w", s, err)
	}
	return Listener{Name: strings.ToUpper(name), Protocol: plaintext, Host: host, Port: int32(p)}, nil
}

func formatListeners(ls []Listener) string {
	out := make([]string, len(ls))
	for i, l := range ls {
		out[i] = l.String()
	}
	return strings.Join(out, ",")
}

// AdvertisedAs returns the address to tell clients for the bound listener l, which listens on bound:
// its entry in advertised.listeners, or where it is bound. A listener on every address is told by host,
// the machine's own name.
func (c *Config) AdvertisedAs(l Listener, bound net.Addr, host string) Listener {
	for _, a := range c.Advertised {
		if a.Name == l.Name {
			return a
		}
	}
	a := l
	if tcp, ok := bound.(*net.TCPAddr); ok {
		a.Port = int32(tcp.Port)
	}
	if everyAddress(l.Host) {
		a.Host = host
	}
	return a
}

// brokerListener is the listener that brokers reach each other at, empty if there is no other.
func (c *Config) brokerListener() string {
	if len(c.Listeners) < 2 {
		return ""
	}
	return cmp.Or(c.Replication.Listener, c.Listeners[0].Name)
}

// everyAddress reports whether a listener on host takes connections to any address of the machine.
func everyAddress(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || ip != nil && ip.IsUnspecified()
}

// checkListeners reports what cannot work about listeners, advertised.listeners and the protocol map.
func (c *Config) checkListeners() error {
	c.Listeners, c.Advertised = slices.Clone(c.Listeners), slices.Clone(c.Advertised)
	if len(c.Listeners) == 0 {
		return c.refuse("listeners", "at least one NAME://host:port")
	}
	names, ports := map[string]bool{}, map[int32]string{}
	for i, l := range c.Listeners {
		if names[l.Name] {
			return c.refuse("listeners", "a different name for each listener; "+l.Name+" stands twice")
		}
		names[l.Name] = true
		if host, taken := ports[l.Port]; taken && l.Port != 0 && (host == l.Host || everyAddress(host) || everyAddress(l.Host)) {
			return c.refuse("listeners", fmt.Sprintf("a port of its own for each listener; %d stands twice", l.Port))
		}
		ports[l.Port] = l.Host
		proto, err := c.protocolOf(l.Name)
		if err != nil {
			return c.refuse("listener.security.protocol.map", err.Error())
		}
		c.Listeners[i].Protocol = proto
	}
	if l := c.Replication.Listener; l != "" && !names[l] {
		return c.refuse("inter.broker.listener.name", "a name that stands in listeners, or nothing")
	}
	for i, a := range c.Advertised {
		switch {
		case !names[a.Name]:
			return c.refuse("advertised.listeners", "names that stand in listeners; "+a.Name+" does not")
		case everyAddress(a.Host):
			return c.refuse("advertised.listeners", "hosts that clients can reach, so neither an empty one nor 0.0.0.0")
		case a.Port == 0:
			return c.refuse("advertised.listeners", "ports that clients can reach, so not 0")
		}
		c.Advertised[i].Protocol = plaintext
		for _, b := range c.Advertised[:i] {
			if b.Name == a.Name {
				return c.refuse("advertised.listeners", "a different name for each listener; "+a.Name+" stands twice")
			}
		}
	}
	return nil
}

// protocolOf looks a listener's name up in listener.security.protocol.map. A name that is a protocol maps
// to itself.
func (c *Config) protocolOf(name string) (string, error) {
	proto := ""
	switch name {
	case plaintext, "SSL", "SASL_PLAINTEXT", "SASL_SSL":
		proto = name
	}
	for _, pair := range splitList(c.protocols) {
		k, v, ok := strings.Cut(pair, ":")
		if !ok {
			return "", errors.New("a comma-separated list of NAME:PROTOCOL")
		}
		if strings.EqualFold(strings.TrimSpace(k), name) {
			proto = strings.ToUpper(strings.TrimSpace(v))
		}
	}
	if proto == "" {
		return "", fmt.Errorf("an entry %s:%s for that listener", name, plaintext)
	}
	if proto != plaintext {
		return "", fmt.Errorf("the protocol %s; %s of listener %s is not served yet", plaintext, proto, name)
	}
	return proto, nil
}

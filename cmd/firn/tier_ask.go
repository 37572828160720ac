package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"firn/broker/console"
)

// tierStatus asks the console at addr, or if that is empty those of all brokers. With an error there is what the others told.
func (c *client) tierStatus(ctx context.Context, addr, name string) ([]console.TierPartition, error) {
	if addr != "" {
		return fetchTier(ctx, addr, name)
	}
	adm, done, err := c.admin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	var mu sync.Mutex
	list := []console.TierPartition{}
	answers, err := adm.askConsoles(ctx, func(addr string) error {
		part, err := fetchTier(ctx, addr, name)
		mu.Lock()
		defer mu.Unlock()
		list = append(list, part...)
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, func(a, b console.TierPartition) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Leader, b.Leader))
	})
	return list, joinAnswers(answers)
}

// joinAnswers is one error of what brokers answered. What each of them says, as that there is no such topic, it says once.
func joinAnswers(answers map[int32]error) error {
	var errs []error
	texts := map[string]bool{}
	for _, id := range slices.Sorted(maps.Keys(answers)) {
		err := answers[id]
		texts[fmt.Sprint(err)] = true
		if err != nil {
			errs = append(errs, fmt.Errorf("broker %d: %w", id, err))
		}
	}
	if len(texts) == 1 && len(errs) > 0 {
		return errors.Unwrap(errs[0])
	}
	return errors.Join(errs...)
}

// askConsoles asks the cluster where its brokers' consoles are, and ask about each, all at once: one that hangs takes its time.
// What comes of it is by broker.
func (adm cluster) askConsoles(ctx context.Context, ask func(addr string) error) (map[int32]error, error) {
	brokers, err := adm.ListBrokers(ctx)
	if err != nil {
		return nil, fmt.Errorf("list brokers: %w", err)
	}
	errs := make([]error, len(brokers))
	var wg sync.WaitGroup
	for i, b := range brokers {
		wg.Go(func() {
			addr, err := consoleAt(ctx, adm, b)
			if err == nil {
				err = ask(addr)
			}
			errs[i] = err
		})
	}
	wg.Wait()
	answers := map[int32]error{}
	for i, b := range brokers {
		answers[b.NodeID] = errs[i]
	}
	return answers, nil
}

// consoleAt asks a broker where its console is.
func consoleAt(ctx context.Context, adm cluster, b kadm.BrokerDetail) (string, error) {
	configs, err := adm.DescribeBrokerConfigs(ctx, b.NodeID)
	if err != nil {
		return "", fmt.Errorf("its settings: %w", brokerError(err, ""))
	}
	return consoleOf(b, configs)
}

// consoleSetting is the broker setting that says where a console listens.
const consoleSetting = "http.listen"

// consoleOf reads a broker's settings for where its console is, as seen from here.
func consoleOf(b kadm.BrokerDetail, configs kadm.ResourceConfigs) (string, error) {
	listen := ""
	for _, r := range configs {
		if r.Err != nil {
			return "", brokerError(r.Err, r.ErrMessage)
		}
		for _, c := range r.Configs {
			if c.Key == consoleSetting {
				listen = c.MaybeValue()
			}
		}
	}
	host, port, err := net.SplitHostPort(listen)
	switch {
	case listen == "":
		return "", fmt.Errorf("it has no setting %s, so it is no Firn", consoleSetting)
	case err != nil || port == "0":
		return "", fmt.Errorf("%s=%s does not tell where its console is; give --http", consoleSetting, listen)
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case host == "" || err == nil && ip.IsUnspecified():
		host = b.Host
	case (host == "localhost" || err == nil && ip.IsLoopback()) && !isHere(b.Host):
		return "", fmt.Errorf("its console is only reached from its own machine, %s: %s=%s", b.Host, consoleSetting, listen)
	}
	return net.JoinHostPort(host, port), nil
}

// isHere reports whether a broker's host is this machine, as far as that can be told without asking anybody.
func isHere(host string) bool {
	if self, err := os.Hostname(); host == "localhost" || err == nil && host == self {
		return true
	}
	ip := net.ParseIP(host)
	addrs, err := net.InterfaceAddrs()
	return ip != nil && (ip.IsLoopback() || err == nil && slices.ContainsFunc(addrs, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		return ok && n.IP.Equal(ip)
	}))
}

const (
	tierTimeout = 30 * time.Second
	// maxTierBytes bounds what is taken from a console: some 300,000 partitions.
	maxTierBytes = 128 << 20
)

// askConsole asks the console at addr for path. The caller closes the body of what it answers.
func askConsole(ctx context.Context, addr, path string, query url.Values) (*http.Response, error) {
	full := addr
	if host, _, _ := strings.Cut(addr, "/"); isHostPort(host) {
		full = "http://" + addr
	}
	u, err := url.Parse(full)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, usagef("--http %q: want HOST:PORT", addr)
	}
	u = u.JoinPath(path)
	u.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err // it names the address once more
		}
		return nil, fmt.Errorf("no console answers at %s: %w", u.Host, err)
	}
	return resp, nil
}

// fetchTier asks a broker's console.
func fetchTier(ctx context.Context, addr, name string) ([]console.TierPartition, error) {
	ctx, cancel := context.WithTimeout(ctx, tierTimeout)
	defer cancel()
	resp, err := askConsole(ctx, addr, "/v1/tier", url.Values{"topic": {name}})
	if err != nil {
		return nil, err
	}
	host := resp.Request.URL.Host
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxTierBytes))
	if err != nil {
		return nil, fmt.Errorf("read from %s: %w", host, err)
	}
	if resp.StatusCode != http.StatusOK {
		var e struct{ Error string }
		if json.Unmarshal(body, &e) == nil && e.Error != "" {
			return nil, errors.New(e.Error)
		}
		return nil, fmt.Errorf("%s answers %s", host, resp.Status)
	}
	list := []console.TierPartition{}
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, fmt.Errorf("read from %s: %w", host, err)
	}
	return list, nil
}

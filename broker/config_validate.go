package broker

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"

	"firn/metadata/topic"
	"firn/segment"
)

// SettingError reports a broker setting that cannot be accepted. Its text names the key, the value, where
// it came from and what is allowed.
type SettingError struct {
	Key     string
	Value   string
	Allowed string // for an unknown key, what to do about it
	Unknown bool   // there is no such setting
	From    Origin
}

// Error names the key, the value, where it came from and what is allowed.
func (e *SettingError) Error() string {
	where := ""
	if e.From.Kind != FromDefault {
		where = " (" + e.From.String() + ")"
	}
	if e.Unknown {
		return fmt.Sprintf("unknown setting %s=%q%s: %s", e.Key, e.Value, where, e.Allowed)
	}
	return fmt.Sprintf("setting %s=%q%s: allowed is %s", e.Key, e.Value, where, e.Allowed)
}

func unknownSetting(key, value string, from Origin) *SettingError {
	if strings.Contains(strings.ToLower(key), "pass") {
		value = "[hidden]" // likely the right value under a wrong name
	}
	e := &SettingError{Key: key, Value: value, From: from, Unknown: true}
	names := make([]string, len(Settings))
	for i := range Settings {
		names[i] = Settings[i].Name
	}
	e.Allowed = "allowed are the settings that firn config lists"
	if def := topic.Lookup(key); def != nil && len(def.Synonyms) > 0 {
		e.Allowed += "; it is a topic's setting, for all topics use " + def.Synonyms[0].Name
	} else if n := topic.Nearest(key, names); n != "" {
		e.Allowed += "; did you mean " + n + "?"
	}
	return e
}

// refuse blames the present value of a setting.
func (c *Config) refuse(key, allowed string) error {
	s := LookupSetting(key)
	return &SettingError{Key: key, Value: s.Value(c), Allowed: allowed, From: c.Origin(key)}
}

// Validate reports settings that cannot work, alone or together, and fills in what follows from others:
// each listener's protocol and the directories that have no default of their own.
func (c *Config) Validate() error {
	switch {
	case c.NodeID < 0:
		return c.refuse("node.id", "a whole number, 0 or more; it must be set")
	case len(c.Etcd.Endpoints) == 0 && c.Etcd.EmbedDir == "":
		return c.refuse("etcd.endpoints", "a comma-separated list of HOST:PORT; it must be set, or etcd.embed.dir instead")
	case len(c.Etcd.Endpoints) > 0 && c.Etcd.EmbedDir != "":
		return c.refuse("etcd.embed.dir", "nothing while etcd.endpoints is set")
	case (c.Etcd.CertFile == "") != (c.Etcd.KeyFile == ""):
		return c.refuse("etcd.tls.cert.file", "a file together with etcd.tls.key.file, or neither")
	case 2*c.Replication.MaxWait > c.Replication.MaxLag:
		return c.refuse("replica.fetch.wait.max.ms", "at most half of replica.lag.time.max.ms, or followers would lag for want of asking")
	case c.Groups.MinSession > c.Groups.MaxSession:
		return c.refuse("group.min.session.timeout.ms", "at most group.max.session.timeout.ms, "+LookupSetting("group.max.session.timeout.ms").Value(c))
	}
	if err := c.checkListeners(); err != nil {
		return err
	}
	if err := c.checkDisk(); err != nil {
		return err
	}
	return c.checkDirs()
}

// checkDisk reports thresholds of free space that are out of order.
func (c *Config) checkDisk() error {
	low, very, full := c.Disk.Low, c.Disk.VeryLow, c.Disk.Full
	if c.Disk == (segment.Thresholds{}) {
		return c.refuse("disk.free.full", "more than nothing in one of disk.free.*, as a disk must not run full")
	}
	if very.Percent > low.Percent || very.Bytes > low.Bytes {
		return c.refuse("disk.free.very.low", "no more than disk.free.low in both, "+LookupSetting("disk.free.low").Value(c))
	}
	if full.Percent > very.Percent || full.Bytes > very.Bytes {
		return c.refuse("disk.free.full", "no more than disk.free.very.low in both, "+LookupSetting("disk.free.very.low").Value(c))
	}
	return nil
}

// checkDirs settles the log directories and those beside them.
func (c *Config) checkDirs() error {
	if len(c.LogDirs) == 0 {
		if c.logDir == "" {
			return c.refuse("log.dirs", "at least one directory")
		}
		c.LogDirs = []string{c.logDir}
	}
	seen := map[string]bool{}
	for _, d := range c.LogDirs {
		abs, err := filepath.Abs(d)
		if err != nil {
			return fmt.Errorf("setting log.dirs: %w", err)
		}
		if seen[abs] {
			return c.refuse("log.dirs", "each directory once; "+d+" stands twice")
		}
		seen[abs] = true
	}
	if c.Tier.CacheDir == "" {
		c.Tier.CacheDir = filepath.Join(c.LogDirs[0], "tier-cache")
	}
	if c.Tier.SpoolDir == "" {
		c.Tier.SpoolDir = filepath.Join(c.LogDirs[0], "tier-spool")
	}
	return nil
}

// clusterName reports whether name can stand in etcd's keys.
func clusterName(name string) bool {
	return len(name) <= 100 && topic.ValidateName(name) == nil
}

// replicaSelector reports whether v is "" or a class of Kafka's whose part Firn plays.
func replicaSelector(v string) bool {
	return v == "" || v == leaderSelector || v == rackAwareSelector
}

// hostPort reports whether v is "" or host:port.
func hostPort(v string) bool {
	if v == "" {
		return true
	}
	_, port, err := net.SplitHostPort(v)
	if err != nil {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}

// endpoint reports whether v is an address of etcd: host:port, or a URL with one, or the path of a socket.
func endpoint(v string) bool {
	if path, ok := strings.CutPrefix(v, "unix://"); ok {
		return strings.HasPrefix(path, "/")
	}
	for _, scheme := range []string{"http://", "https://"} {
		if rest, ok := strings.CutPrefix(v, scheme); ok {
			v = strings.TrimSuffix(rest, "/")
		}
	}
	return v != "" && hostPort(v)
}

// tierURL reports whether v is "" or names object storage in one of the known ways. What is in the URL
// beyond that is for the driver to judge.
func tierURL(v string) bool {
	if v == "" {
		return true
	}
	u, err := url.Parse(v)
	if err != nil || u.Opaque != "" {
		return false
	}
	switch u.Scheme {
	case "file":
		return u.Host == "" && strings.HasPrefix(u.Path, "/")
	case "s3":
		return u.Host != ""
	case "minio":
		return u.Host != "" && strings.Trim(u.Path, "/") != ""
	}
	return false
}

// DevConfig returns the settings of firn dev with all its data below dir: a broker on its own, with an
// etcd in the process and a directory as object storage.
func DevConfig(dir string) (Config, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return Config{}, fmt.Errorf("data directory: %w", err)
	}
	if strings.Contains(abs, ",") {
		return Config{}, fmt.Errorf("data directory %s: a comma cannot stand in it", abs)
	}
	c := DefaultConfig()
	dev := [][2]string{
		{"node.id", "1"},
		{"listeners", "PLAINTEXT://127.0.0.1:9092"},
		{"http.listen", "127.0.0.1:9644"},
		{"log.dirs", filepath.Join(abs, "log")},
		{"etcd.embed.dir", filepath.Join(abs, "etcd")},
		{"tier.url", (&url.URL{Scheme: "file", Path: filepath.ToSlash(filepath.Join(abs, "tier"))}).String()},
		{"tier.cache.dir", filepath.Join(abs, "cache")},
		{"tier.spool.dir", filepath.Join(abs, "spool")},
		{"group.initial.rebalance.delay.ms", "0"},
		{"log.level", "warn"},
	}
	for _, kv := range dev {
		if err := c.Set(kv[0], kv[1], Origin{Kind: FromDefault, Where: "firn dev"}); err != nil {
			return Config{}, err
		}
	}
	return c, nil
}

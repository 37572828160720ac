package broker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"time"

	"firn/broker/partition"
	"firn/metadata"
	"firn/metadata/etcd"
	"firn/metadata/topic"
	"firn/tiering"
	"firn/tiering/manifest"
)

// What lower packages need of each other meets here, checked by the compiler.
var (
	_ tiering.Anchor  = (*metadata.TierHeads)(nil)
	_ partition.Lease = (*metadata.Lease)(nil)
)

// readTierHead tells the metadata what other packages need of a tier head.
func readTierHead(value []byte) (metadata.TierFields, error) {
	h, err := manifest.DecodeHead(value)
	if err != nil {
		return metadata.TierFields{}, err
	}
	return metadata.TierFields{LogStart: h.LogStart, TierEnd: h.TierEnd, Bytes: h.StoredBytes}, nil
}

// fenceTier writes a tier head anew under a leader epoch.
func fenceTier(value []byte, leaderEpoch int32) ([]byte, error) {
	var h manifest.Head
	if value != nil {
		var err error
		if h, err = manifest.DecodeHead(value); err != nil {
			return nil, err
		}
	}
	h, err := manifest.Apply(h, leaderEpoch, manifest.Fence{})
	if err != nil {
		return nil, err
	}
	return h.Encode(), nil
}

// source is a replica as the uploader sees it.
type source struct {
	tiering.Source
	r *partition.Replica
}

func newSource(r *partition.Replica) source {
	hw := func() int64 { return r.Offsets().HighWatermark }
	return source{tiering.NewLogSource(r.Log(), hw), r}
}

// Roll goes through the replica, whose lock the log's producers want.
func (s source) Roll() error { return s.r.Roll() }

// Damaged has the replica deal with what was found, as if it had read it itself.
func (s source) Damaged(base, at int64, err error) { s.r.Rotten(base, at, err) }

// etcdAddress says where the metadata is, for people.
func (b *Broker) etcdAddress() string {
	if dir := b.cfg.Etcd.EmbedDir; dir != "" {
		return dir
	}
	return strings.Join(b.cfg.Etcd.Endpoints, ",")
}

// etcdConfig is how the settings say to reach etcd.
func (b *Broker) etcdConfig() (etcd.Config, error) {
	e := b.cfg.Etcd
	c := etcd.Config{Endpoints: e.Endpoints, Username: e.Username, Password: e.Password, RequestTimeout: e.RequestTimeout, Logger: b.log.With("part", "etcd")}
	if !e.TLS() {
		return c, nil
	}
	c.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	if e.CAFile != "" {
		pem, err := os.ReadFile(e.CAFile)
		if err != nil {
			return c, fmt.Errorf("etcd.tls.ca.file: %w", err)
		}
		c.TLS.RootCAs = x509.NewCertPool()
		if !c.TLS.RootCAs.AppendCertsFromPEM(pem) {
			return c, fmt.Errorf("etcd.tls.ca.file: %s holds no certificate", e.CAFile)
		}
	}
	if e.CertFile != "" {
		// Read for each connection: certificates are renewed while brokers run.
		load := func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			cert, err := tls.LoadX509KeyPair(e.CertFile, e.KeyFile)
			if err != nil {
				return nil, fmt.Errorf("etcd.tls.cert.file: %w", err)
			}
			return &cert, nil
		}
		if _, err := load(nil); err != nil {
			return c, err
		}
		c.TLS.GetClientCertificate = load
	}
	return c, nil
}

// topicDefaults are what topics fall back to by an image: settings made at run time, then the broker's own.
func (b *Broker) topicDefaults(im *metadata.Image) topic.Defaults {
	return b.cfg.TopicDefaultsWith(im.ClusterOverrides(), im.BrokerOverrides(b.cfg.NodeID))
}

// topicConfig is how a topic is configured by an image.
func (b *Broker) topicConfig(im *metadata.Image, id topic.ID) (topic.Config, error) {
	return topic.ParseConfig(im.TopicOverrides(id), b.topicDefaults(im))
}

func uploadLimits(c *topic.Config) tiering.Limits {
	const most = math.MaxInt64 / int64(time.Millisecond)
	return tiering.Limits{
		MaxLag: time.Duration(min(c.Tier.MaxLagMs, most)) * time.Millisecond, MinBytes: c.Tier.MinBytes,
		Paused: c.Tier.CopyDisabled, Ended: !c.Tier.Enabled,
	}
}

// logStarts makes the log starts that DeleteRecords asks for durable: in the tier head.
type logStarts struct{ b *Broker }

// AdvanceLogStart implements partition.LogStarts.
func (l logStarts) AdvanceLogStart(ctx context.Context, tp topic.Partition, leaderEpoch int32, start int64) (int64, error) {
	if u := l.b.applier.upload(tp); u != nil {
		h, err := u.Archive().SetLogStart(ctx, start)
		return h.LogStart, err
	}
	return tiering.AdvanceLogStart(ctx, l.b.anchor(), tp, leaderEpoch, start)
}

// anchor is the tier heads, with the refusals that no retry will change named in the tier's own words.
type anchor struct{ *metadata.TierHeads }

// Swap implements tiering.Anchor.
func (a anchor) Swap(ctx context.Context, tp topic.Partition, rev int64, leaderEpoch int32, head []byte) (int64, bool, error) {
	newRev, ok, err := a.TierHeads.Swap(ctx, tp, rev, leaderEpoch, head)
	if errors.Is(err, metadata.ErrFenced) || errors.Is(err, metadata.ErrTopicGone) {
		err = fmt.Errorf("%w: %w", tiering.ErrRefused, err)
	}
	return newRev, ok, err
}

func (b *Broker) anchor() tiering.Anchor {
	return anchor{b.store.TierHeads(b.cfg.NodeID, b.lease.Epoch)}
}

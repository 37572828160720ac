package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"firn/tiering"
)

// Bucket is an S3 bucket that holds a tier. Credentials are taken from the environment: MINIO_ACCESS_KEY
// and MINIO_SECRET_KEY, or those of AWS.
type Bucket struct {
	Endpoint string // HOST:PORT
	TLS      bool
	Name     string
	Prefix   string
	Region   string
}

// ParseBucket reads a tier's URL of the form minio://HOST:PORT/BUCKET/PREFIX or
// s3://BUCKET/PREFIX?endpoint=URL.
func ParseBucket(tier string) (Bucket, error) {
	u, err := url.Parse(tier)
	if err != nil {
		return Bucket{}, errors.New("tier is not a URL")
	}
	q := u.Query()
	b := Bucket{Region: q.Get("region")}
	if b.Region == "" {
		b.Region = "us-east-1"
	}
	path := strings.Trim(u.Path, "/")
	switch u.Scheme {
	case "minio":
		b.Endpoint, b.TLS = u.Host, q.Get("tls") != "false"
		b.Name, b.Prefix, _ = strings.Cut(path, "/")
	case "s3":
		e, err := url.Parse(q.Get("endpoint"))
		if err != nil || e.Host == "" {
			return Bucket{}, fmt.Errorf("tier %s: an endpoint is needed to read its objects", u.Redacted())
		}
		b.Endpoint, b.TLS, b.Name, b.Prefix = e.Host, e.Scheme == "https", u.Host, path
	default:
		return Bucket{}, fmt.Errorf("tier %s: only objects behind minio:// and s3:// can be read without a broker", u.Redacted())
	}
	return b, nil
}

// client takes its credentials from env, in the form KEY=VALUE, of which the last one of a key counts.
func (b Bucket) client(env []string) (*minio.Client, error) {
	get := func(name string) (value string) {
		for _, kv := range env {
			if v, ok := strings.CutPrefix(kv, name+"="); ok {
				value = v
			}
		}
		return value
	}
	key, secret := get("MINIO_ACCESS_KEY"), get("MINIO_SECRET_KEY")
	if key == "" {
		key, secret = get("AWS_ACCESS_KEY_ID"), get("AWS_SECRET_ACCESS_KEY")
	}
	return minio.New(b.Endpoint, &minio.Options{
		Creds: credentials.NewStaticV4(key, secret, ""), Secure: b.TLS, Region: b.Region, BucketLookup: minio.BucketLookupPath,
	})
}

// segments lists the objects that hold a partition's records, in the order of their offsets.
func (b Bucket) segments(ctx context.Context, env []string, topicHex string, partition int32) ([]string, error) {
	cl, err := b.client(append(os.Environ(), env...))
	if err != nil {
		return nil, err
	}
	prefix := b.Prefix
	if prefix != "" {
		prefix += "/"
	}
	within := fmt.Sprintf("/%s/%d/s/", topicHex, partition)
	var keys []string
	for o := range cl.ListObjects(ctx, b.Name, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
		if o.Err != nil {
			return nil, fmt.Errorf("list %s: %w", b.Name, o.Err)
		}
		if strings.Contains(o.Key, within) {
			keys = append(keys, o.Key)
		}
	}
	slices.SortFunc(keys, func(a, b string) int {
		return strings.Compare(a[strings.LastIndexByte(a, '/'):], b[strings.LastIndexByte(b, '/'):])
	})
	if len(keys) == 0 {
		return nil, fmt.Errorf("list %s: no objects of partition %s-%d", b.Name, topicHex, partition)
	}
	return keys, nil
}

// piece is what one ranged GET brings: blocks that lie behind each other.
type piece struct {
	url    string
	pos    int64 // in the object
	size   int
	raw    int // decoded
	blocks []tiering.Block
}

// Pieces have as much as a broker's reader asks for at once.
const (
	pieceBlocks = 16
	pieceRaw    = 4 << 20
)

// objects reads the footers of objects and cuts what is before them into pieces.
type objects struct {
	Bucket Bucket
	Keys   []string
	http   *http.Client
}

// linkLife is how long a link that the probe signs for itself is good.
const linkLife = 6 * time.Hour

func (o *objects) pieces(ctx context.Context) ([]piece, error) {
	o.http = &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: 64, DisableCompression: true, ReadBufferSize: 256 << 10,
	}}
	cl, err := o.Bucket.client(os.Environ())
	if err != nil {
		return nil, err
	}
	var out []piece
	for _, key := range o.Keys {
		link, err := cl.PresignedGetObject(ctx, o.Bucket.Name, key, linkLife, nil)
		if err != nil {
			return nil, err
		}
		info, err := cl.StatObject(ctx, o.Bucket.Name, key, minio.StatObjectOptions{})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		f, err := o.footer(ctx, link.String(), info.Size)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		out = append(out, cut(link.String(), f.Blocks)...)
	}
	return out, nil
}

// trailerBytes is the end of an object that says where its footer begins.
const trailerBytes = 64

func (o *objects) footer(ctx context.Context, link string, size int64) (*tiering.Footer, error) {
	read := func(from int64) ([]byte, error) {
		b := make([]byte, size-from)
		return b, o.get(ctx, link, from, b)
	}
	trailer, err := read(max(size-trailerBytes, 0))
	if err != nil {
		return nil, err
	}
	pos, err := tiering.FooterPos(trailer, size)
	if err != nil {
		return nil, err
	}
	b, err := read(pos)
	if err != nil {
		return nil, err
	}
	return tiering.DecodeFooter(b, size)
}

func cut(link string, blocks []tiering.Block) []piece {
	var out []piece
	for i := 0; i < len(blocks); {
		p := piece{url: link, pos: int64(blocks[i].Pos)}
		j := i
		for ; j < len(blocks) && j-i < pieceBlocks && (j == i || p.raw+int(blocks[j].RawLen) <= pieceRaw); j++ {
			p.raw += int(blocks[j].RawLen)
			p.size += int(blocks[j].Len)
		}
		p.blocks = blocks[i:j]
		out = append(out, p)
		i = j
	}
	return out
}

// open asks for a range.
func (o *objects) open(ctx context.Context, link string, pos int64, size int) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, link, http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", pos, pos+int64(size)-1))
	resp, err := o.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusPartialContent {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("GET: %s", resp.Status)
	}
	return resp.Body, nil
}

// get fills b from a position.
func (o *objects) get(ctx context.Context, link string, pos int64, b []byte) error {
	body, err := o.open(ctx, link, pos, len(b))
	if err != nil {
		return err
	}
	defer body.Close()
	_, err = io.ReadFull(body, b)
	return err
}

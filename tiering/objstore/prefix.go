package objstore

import (
	"context"
	"fmt"
	"io"
	"strings"
)

// WithPrefix returns the part of b whose keys begin with prefix and '/'; keys of the result lack both.
// An empty prefix returns b itself. Close closes b.
func WithPrefix(b Bucket, prefix string) (Bucket, error) {
	if prefix == "" {
		return b, nil
	}
	if err := CheckKey(prefix); err != nil {
		return nil, fmt.Errorf("prefix of %s: %w", b, err)
	}
	return &prefixed{bucket: b, prefix: prefix + "/"}, nil
}

type prefixed struct {
	bucket Bucket
	prefix string
}

var _ Bucket = (*prefixed)(nil)

// inner checks a key before the prefix is put in front, so that "../x" or "/x" never name a place
// outside it.
func (p *prefixed) inner(key string) (string, error) {
	if err := CheckKey(key); err != nil {
		return "", err
	}
	return p.prefix + key, nil
}

func (p *prefixed) Put(ctx context.Context, key string, src Source, cond Condition) (Info, error) {
	full, err := p.inner(key)
	if err != nil {
		return Info{}, err
	}
	info, err := p.bucket.Put(ctx, full, src, cond)
	return p.outer(info), err
}

func (p *prefixed) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	full, err := p.inner(key)
	if err != nil {
		return nil, err
	}
	return p.bucket.Get(ctx, full, off, n)
}

func (p *prefixed) Head(ctx context.Context, key string) (Info, error) {
	full, err := p.inner(key)
	if err != nil {
		return Info{}, err
	}
	info, err := p.bucket.Head(ctx, full)
	return p.outer(info), err
}

func (p *prefixed) List(ctx context.Context, prefix, startAfter string, fn func(Info) error) error {
	if startAfter != "" {
		startAfter = p.prefix + startAfter
	}
	return p.bucket.List(ctx, p.prefix+prefix, startAfter, func(info Info) error {
		return fn(p.outer(info))
	})
}

func (p *prefixed) Delete(ctx context.Context, keys ...string) error {
	full := make([]string, len(keys))
	for i, key := range keys {
		var err error
		if full[i], err = p.inner(key); err != nil {
			return err
		}
	}
	return p.bucket.Delete(ctx, full...)
}

func (p *prefixed) outer(info Info) Info {
	info.Key = strings.TrimPrefix(info.Key, p.prefix)
	return info
}

func (p *prefixed) String() string {
	return p.bucket.String() + "/" + strings.TrimSuffix(p.prefix, "/")
}

func (p *prefixed) Close() error { return p.bucket.Close() }

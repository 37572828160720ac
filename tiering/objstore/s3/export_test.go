package s3

import (
	"context"

	"firn/tiering/objstore"
)

// OpenAsAWS is Open with the checksums that only AWS gets.
func OpenAsAWS(ctx context.Context, o Options) (objstore.Bucket, error) {
	r, err := newRequests(ctx, o)
	if err != nil {
		return nil, err
	}
	r.crc32c, r.signBodies = true, false
	return open(ctx, r)
}

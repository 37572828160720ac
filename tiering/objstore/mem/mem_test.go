package mem_test

import (
	"testing"

	"firn/tiering/objstore"
	"firn/tiering/objstore/mem"
	"firn/tiering/objstore/objtest"
)

func TestBucket(t *testing.T) {
	objtest.Run(t, func(*testing.T) objstore.Bucket { return mem.New() })
}

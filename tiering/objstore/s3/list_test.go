package s3_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"

	"firn/tiering/objstore"
	"firn/tiering/objstore/s3"
)

// A store may answer with a page of nothing, where all has been deleted, and say that there is more: that is not the end.
func TestListOverAPageOfNothing(t *testing.T) {
	const page = `<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><Prefix></Prefix>%s</ListBucketResult>`
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := ""
		switch q := r.URL.Query(); {
		case !q.Has("list-type"):
		case q.Get("continuation-token") == "behind":
			body = `<IsTruncated>false</IsTruncated><Contents><Key>k</Key><Size>1</Size></Contents>`
		default:
			body = `<IsTruncated>true</IsTruncated><NextContinuationToken>behind</NextContinuationToken>`
		}
		w.Header().Set("Content-Type", "application/xml")
		_, _ = fmt.Fprintf(w, page, body)
	}))
	defer srv.Close()
	b, err := s3.Open(t.Context(), s3.Options{
		Bucket: "b", Endpoint: srv.URL, PathStyle: true, Credentials: credentials.NewStaticCredentialsProvider("key", "secret", ""),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	var keys []string
	err = b.List(t.Context(), "", "", func(i objstore.Info) error {
		keys = append(keys, i.Key)
		return nil
	})
	if err != nil || !slices.Equal(keys, []string{"k"}) {
		t.Errorf("%q, %v", keys, err)
	}
}

package s3_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"

	"firn/tiering/objstore"
	"firn/tiering/objstore/s3"
)

// What stands before a store may send everybody who is not logged in to a page. That page is not the store: nothing
// counts as stored or deleted for it.
func TestRedirectIsNoAnswer(t *testing.T) {
	pages := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/login" {
			pages++
			return
		}
		http.Redirect(w, r, "/login", http.StatusFound)
	}))
	defer srv.Close()
	o := s3.Options{Bucket: "b", Endpoint: srv.URL, PathStyle: true, Credentials: credentials.NewStaticCredentialsProvider("key", "secret", "")}
	if b, err := s3.Open(t.Context(), o); err == nil {
		t.Error("open takes the page for a bucket")
		if _, err := b.Put(t.Context(), "k", strings.NewReader("x"), objstore.Condition{IfAbsent: true}); err == nil {
			t.Error("put: the object counts as stored")
		}
		if err := b.Delete(t.Context(), "k"); err == nil {
			t.Error("delete: the object counts as deleted")
		}
	} else if !strings.Contains(err.Error(), "302") || !strings.Contains(err.Error(), "redirect") {
		t.Errorf("open: %v", err)
	}
	if pages > 0 {
		t.Errorf("the page was asked for %d times", pages)
	}
}

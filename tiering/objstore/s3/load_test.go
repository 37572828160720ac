package s3

import (
	"testing"

	"github.com/aws/smithy-go/logging"
)

// The broker's log is structured; the SDK's own lines would stand between.
func TestTheSDKKeepsSilent(t *testing.T) {
	cfg, err := load(t.Context(), Options{Bucket: "b", Region: "r"})
	if err != nil {
		t.Fatal(err)
	}
	if _, silent := cfg.Logger.(logging.Nop); !silent {
		t.Errorf("the SDK logs by %T", cfg.Logger)
	}
}

package api

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"firn/broker/controller"
	"firn/broker/partition"
	"firn/metadata"
	"firn/metadata/topic"
)

// neverAnswered are errors that cannot reach a handler, or that are what UNKNOWN_SERVER_ERROR is for.
var neverAnswered = map[string]string{
	"metadata.ErrCompacted":     "the store lists again",
	"metadata.ErrLeaseNotFound": "the lease keeper's",
	"metadata.ErrRefused":       "the operator's: credentials of the key space",
	"metadata.ErrNodeIDTaken":   "ends a start",
	"metadata.ErrForeignDisk":   "ends a start",
	"metadata.ErrNewerVersion":  "ends the store",
	"metadata.ErrBadRecord":     "ends the store",
	"metadata.ErrWentBack":      "ends the store",
	"metadata.ErrInvalidTxn":    "a bug of ours",
	"partition.ErrGap":          "a follower's, of what a leader has sent",
}

// Every sentinel of the packages that handlers ask has its row.
func TestEverySentinelHasARow(t *testing.T) {
	rows := mappedNames(t)
	for _, dir := range []string{"../partition", "../coordinator", "../group", "../controller", "../../metadata", "../../metadata/topic"} {
		for _, name := range sentinels(t, dir) {
			if reason, ok := neverAnswered[name]; ok != !rows[name] {
				t.Errorf("%s: has a row: %v, needs none: %v %s", name, rows[name], ok, reason)
			}
		}
	}
}

// What cannot be read from the tier because a network's time ran out is an unavailable tier: consumers stop for good at a
// REQUEST_TIMED_OUT in the answer to a fetch.
func TestTimeoutOfTheTiersNetworkIsAStorageError(t *testing.T) {
	away := fmt.Errorf("%w: %w", partition.ErrTierUnavailable, &net.OpError{Op: "dial", Err: context.DeadlineExceeded})
	for err, want := range map[error]*kerr.Error{
		away:                     kerr.KafkaStorageError,
		context.DeadlineExceeded: kerr.RequestTimedOut,
	} {
		if got := kafkaError(err); got != want {
			t.Errorf("%v is %v, want %v", err, got, want)
		}
	}
}

// Nor may they hear of it because the key space was away when it was asked whether an object is still there.
func TestTierThatCannotBeReadForWantOfItsHeadIsAStorageError(t *testing.T) {
	for _, why := range []error{metadata.ErrUnavailable, metadata.ErrUnknown, metadata.ErrClosed} {
		missing := errors.Join(errors.New("no such object"), fmt.Errorf("read tier head: %w", why))
		if got := kafkaError(fmt.Errorf("read in the tier: %w: %w", partition.ErrTierUnavailable, missing)); got != kerr.KafkaStorageError {
			t.Errorf("%v is %v", missing, got)
		}
	}
}

// parseDir parses the Go files of a directory but for tests.
func parseDir(t *testing.T, dir string) []*ast.File {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("%s: %v", dir, err)
	}
	var files []*ast.File
	for _, p := range paths {
		if strings.HasSuffix(p, "_test.go") {
			continue
		}
		src, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		f, err := parser.ParseFile(token.NewFileSet(), p, src, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return files
}

// sentinels returns the exported ErrX variables of a package as pkg.ErrX.
func sentinels(t *testing.T, dir string) []string {
	var names []string
	for _, f := range parseDir(t, dir) {
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR {
				continue
			}
			for _, s := range g.Specs {
				for _, n := range s.(*ast.ValueSpec).Names {
					if strings.HasPrefix(n.Name, "Err") {
						names = append(names, f.Name.Name+"."+n.Name)
					}
				}
			}
		}
	}
	return names
}

// mappedNames returns what stands first in calls of mapErrors.
func mappedNames(t *testing.T) map[string]bool {
	names := map[string]bool{}
	for _, f := range parseDir(t, ".") {
		ast.Inspect(f, func(n ast.Node) bool {
			c, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if fn, ok := c.Fun.(*ast.Ident); !ok || fn.Name != "mapErrors" {
				return true
			}
			if s, ok := c.Args[0].(*ast.SelectorExpr); ok {
				names[fmt.Sprint(s.X, ".", s.Sel)] = true
			}
			return true
		})
	}
	return names
}

func TestCodes(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want *kerr.Error
	}{
		{nil, nil},
		{fmt.Errorf("a: %w", controller.ErrTopicExists), kerr.TopicAlreadyExists},
		{fmt.Errorf("a: %w", kerr.NotController), kerr.NotController},
		{&topic.Error{Key: "k"}, kerr.InvalidConfig},
		{errors.Join(&topic.Error{Key: "k"}, &topic.Error{Key: "l"}), kerr.InvalidConfig},
		{topic.ValidateName(""), kerr.InvalidTopicException},
		{refusal(kerr.InvalidRequest, "because"), kerr.InvalidRequest},
		{errors.New("what is this"), kerr.UnknownServerError},
	} {
		wantCode(t, fmt.Sprint(tt.err), code(tt.err), tt.want)
	}
}

// Clients print a message as one line, so several errors are told in one.
func TestMessagesAreOneLine(t *testing.T) {
	a := &API{}
	code, text := a.outcome(errors.Join(metadata.ErrUnavailable, errors.New("deadline")), "create topic", "x")
	if code != kerr.RequestTimedOut.Code || text == nil || *text != "metadata: unavailable; deadline" {
		t.Errorf("code %d, message %v", code, text)
	}
}

// A message may quote what the client has sent, which is all that a string of the old versions holds.
func TestMessagesAreShort(t *testing.T) {
	c := newWhole(t)
	for v := int16(0); v <= 1; v++ {
		req := kmsg.NewPtrIncrementalAlterConfigsRequest()
		req.Version = v
		r := kmsg.NewIncrementalAlterConfigsRequestResource()
		r.ResourceType, r.ResourceName = topicType, "t"
		r.Configs = []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: "retention.ms", Value: ptr(strings.Repeat("é", 1<<14-1))}}
		req.Resources = append(req.Resources, r)
		got := call[*kmsg.IncrementalAlterConfigsResponse](t, c.api, req).Resources[0]
		wantCode(t, "v"+strconv.Itoa(int(v)), got.ErrorCode, kerr.InvalidConfig)
		if m := *got.ErrorMessage; !strings.Contains(m, "retention.ms") || len(m) > maxMessage || !utf8.ValidString(m) {
			t.Errorf("v%d: a message of %d bytes", v, len(m))
		}
	}
}

// unhashable is an error that cannot be a map's key, though its type says that it might.
type unhashable struct{ details any }

func (unhashable) Error() string { return "it went wrong" }

// Errors of others may be of any kind: whoever asks for their codes is not stopped by that.
func TestCodesOfErrorsThatAreNoKeys(t *testing.T) {
	odd := unhashable{details: []string{"a", "b"}}
	for err, want := range map[error]*kerr.Error{
		errors.Join(odd): kerr.UnknownServerError,
		fmt.Errorf("%w: %w", partition.ErrStorage, odd): kerr.KafkaStorageError,
		errors.Join(odd, partition.ErrNotLeader):        kerr.NotLeaderForPartition,
	} {
		wantCode(t, err.Error(), code(err), want)
	}
}

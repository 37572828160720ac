package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// layers is the import policy: "a < b" lets b import a and everything a may import. A package that does
// not stand here may import nothing of ours. Tests are held to it as well, but for those of the
// packages named in exams, which anyone's tests may use.
//
// Think before editing: an arrow up is usually an interface that wants to be declared below and
// plugged in by package broker.
const layers = `
NONE < metadata/topic, segment/poison, segment/vfs, tiering/objstore, broker/quota
segment/poison < segment/batch
segment/batch < broker/wire
segment/vfs < segment/vfs/faultfs
segment/batch, segment/vfs < segment/index
segment/index < segment < segment/compact
NONE < metadata/internal/pb, metadata/snapmap
metadata/topic, metadata/internal/pb, metadata/snapmap < metadata
metadata < metadata/etcd, metadata/memkv
metadata/topic < tiering/manifest
tiering/objstore, segment/vfs < tiering/objstore/fs
tiering/objstore < tiering/objstore/internal/s3bucket < tiering/objstore/s3, tiering/objstore/minio
tiering/objstore < tiering/objstore/mem, tiering/objstore/faulty
tiering/objstore/fs, tiering/objstore/s3, tiering/objstore/minio < tiering/objstore/open
segment/vfs, tiering/objstore < tiering/chunkcache
segment, tiering/manifest, tiering/chunkcache < tiering < gc
metadata < broker/auth, broker/controller
metadata, segment, tiering, broker/quota < broker/partition
metadata < broker/coordinator < broker/group, broker/txn
broker/wire, broker/auth, broker/quota < broker/server
broker/partition, broker/wire < broker/replication
broker/partition, broker/group, broker/txn, broker/controller, broker/auth, broker/quota, broker/wire < broker/api
NONE < broker/console
broker/api, broker/server, broker/replication, broker/console, gc, metadata/etcd, tiering/objstore/open < broker
broker < broker/brokertest
NONE < broker/brokertest/history < broker/brokertest/history/drive, broker/brokertest/history/judge
broker, broker/brokertest/history/drive, metadata/memkv, tiering/objstore/mem, segment/vfs/faultfs < broker/brokertest/sim
broker/wire, tiering < bench
broker, bench < cmd/firn
`

// exams are packages for tests only; any test may import them and they may import what they examine.
var exams = []string{
	"segment/vfs/vfstest", "metadata/kvtest", "tiering/objstore/objtest", "broker/wire/wiretest", "broker/wire/randmsg", "broker/brokertest", "broker/brokertest/clustertest", "broker/brokertest/growthtest", "broker/brokertest/history", "broker/brokertest/history/drive", "tiering/tiertest",
	"deploy/tools/toolbox", "metadata/memkv", "metadata/etcd", "tiering/objstore/mem", "tiering/objstore/faulty",
	"segment/vfs/faultfs",
}

// joint are packages that decide of the same things, so that their tests try one with the other though neither may import
// it.
var joint = map[string]string{"broker/partition": "broker/controller"}

func parseLayers(t *testing.T) map[string][]string {
	t.Helper()
	below := map[string][]string{}
	split := func(s string) []string {
		var names []string
		for _, n := range strings.Split(s, ",") {
			names = append(names, strings.TrimSpace(n))
		}
		return names
	}
	for _, line := range strings.Split(strings.TrimSpace(layers), "\n") {
		storeys := strings.Split(line, " < ")
		for i := 1; i < len(storeys); i++ {
			for _, up := range split(storeys[i]) {
				for _, down := range split(storeys[i-1]) {
					if down != "NONE" {
						below[up] = append(below[up], down)
					} else if below[up] == nil {
						below[up] = []string{}
					}
				}
			}
		}
	}
	return below
}

// reachable is everything that lies below a package.
func reachable(below map[string][]string, pkg string, seen map[string]bool) map[string]bool {
	for _, d := range below[pkg] {
		if !seen[d] {
			seen[d] = true
			reachable(below, d, seen)
		}
	}
	return seen
}

func TestLayers(t *testing.T) {
	below := parseLayers(t)
	root := filepath.Join("..", "..")
	files := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if _, statErr := os.Stat(filepath.Join(path, "go.mod")); path != root && statErr == nil || strings.HasPrefix(d.Name(), ".") && path != root && d.Name() != ".." {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		files++
		rel, _ := filepath.Rel(root, filepath.Dir(path))
		checkFile(t, below, filepath.ToSlash(rel), path)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 50 {
		t.Fatalf("only %d files looked at: wrong root?", files)
	}
}

func checkFile(t *testing.T, below map[string][]string, pkg, path string) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	if _, product := below[pkg]; slices.Contains(exams, pkg) && !product {
		return
	}
	allowed := reachable(below, pkg, map[string]bool{pkg: true})
	for _, imp := range f.Imports {
		name, _ := strconv.Unquote(imp.Path.Value)
		ours, ok := strings.CutPrefix(name, "firn/")
		if !ok || allowed[ours] || strings.HasSuffix(path, "_test.go") && (slices.Contains(exams, ours) || joint[pkg] == ours) {
			continue
		}
		t.Errorf("%s: %s may not import %s", path, pkg, ours)
	}
}

package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Tests wait for conditions. Sleeping is for synctest bubbles, whose time costs nothing: a directory whose
// tests sleep must have some.
func TestTestsSleepInBubblesOnly(t *testing.T) {
	sleeps, bubbles := map[string]string{}, map[string]bool{}
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() != ".." && strings.HasPrefix(d.Name(), ".") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") || filepath.Base(path) == "sleep_test.go" {
			return nil
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		dir := filepath.Dir(path)
		if bytes.Contains(src, []byte("time.Sleep(")) {
			sleeps[dir] = path
		}
		if bytes.Contains(src, []byte(`"testing/synctest"`)) {
			bubbles[dir] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for dir, path := range sleeps {
		if !bubbles[dir] {
			t.Errorf("%s sleeps outside of a synctest bubble", path)
		}
	}
	if len(bubbles) == 0 {
		t.Error("no test has a bubble: is this the right place to look?")
	}
}

package bites

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// root is the module's directory.
const root = "../../.."

// overlay writes the planted sources to dir and says by which they are to be replaced.
func (p *plant) overlay(dir string) (string, error) {
	planted := map[string]string{}
	for _, e := range p.edits {
		path, err := filepath.Abs(filepath.Join(root, e.file))
		if err != nil {
			return "", err
		}
		src, known := planted[path]
		if !known {
			b, err := os.ReadFile(path)
			if err != nil {
				return "", err
			}
			src = string(b)
		}
		if n := strings.Count(src, e.old); n != 1 {
			return "", fmt.Errorf("%s has %d times what is to be replaced: %q; plant it anew", e.file, n, e.old)
		}
		src = strings.Replace(src, e.old, e.new, 1)
		if _, err := parser.ParseFile(token.NewFileSet(), e.file, src, 0); err != nil {
			return "", fmt.Errorf("with the plant: %w", err)
		}
		planted[path] = src
	}
	replace := map[string]string{}
	for path, src := range planted {
		to := filepath.Join(dir, strings.ReplaceAll(strings.Trim(path, "/"), "/", "-"))
		if err := os.WriteFile(to, []byte(src), 0o600); err != nil {
			return "", err
		}
		replace[path] = to
	}
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, "overlay.json")
	return name, os.WriteFile(name, b, 0o600)
}

// Every plant fits the sources as they are now, and says what finds it. That it compiles is seen when it is tried.
func TestPlantsApply(t *testing.T) {
	for _, p := range plants {
		if len(p.judges()) == 0 || (p.seeds == 0) == (p.blind == "") {
			t.Errorf("%s, %q: what finds it, and in how many seeds, or why not?", p.hazard, p.name)
		}
		if _, err := p.overlay(t.TempDir()); err != nil {
			t.Errorf("%s, %q: %v", p.hazard, p.name, err)
		}
	}
}

// patience bounds one judge's run.
const patience = time.Hour

// TestPlantsAreFound builds and runs what FIRN_BITES asks for: a regular expression for hazards and names, or "all". With
// FIRN_BITES_SIM each is tried by so many seeds of whole clusters only, whether they are known to find it or not: that is
// how one gets to know.
func TestPlantsAreFound(t *testing.T) {
	want := os.Getenv("FIRN_BITES")
	if want == "" {
		t.Skip("builds tests once for each plant: make bites, or FIRN_BITES=all")
	}
	if want == "all" {
		want = "."
	}
	chosen, err := regexp.Compile(want)
	if err != nil {
		t.Fatal(err)
	}
	seeds, _ := strconv.Atoi(os.Getenv("FIRN_BITES_SIM"))
	for _, p := range plants {
		if !chosen.MatchString(p.hazard + " " + p.name) {
			continue
		}
		t.Run(p.hazard+" "+p.name, func(t *testing.T) {
			if seeds > 0 {
				p.try(t, simulated(seeds))
				return
			}
			for _, by := range p.judges() {
				p.try(t, by)
			}
		})
	}
}

// try builds a judge with the plant and expects it to fail.
func (p *plant) try(t *testing.T, by judge) {
	dir := t.TempDir()
	overlay, err := p.overlay(dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	bin := filepath.Join(dir, "judge.test")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-tags", "synctests", "-overlay", overlay, "-o", bin, by.pkg)
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("does not compile: %v\n%s", err, out)
	}
	run := exec.CommandContext(ctx, bin, "-test.run", by.run, "-test.v", "-test.timeout", patience.String())
	run.Dir = filepath.Join(root, by.pkg)
	if by.seeds > 0 { // from 1 on, so that the one that fails says how many it took
		run.Env = append(os.Environ(), fmt.Sprintf("FIRN_SIM_SEEDS=%d", by.seeds), "FIRN_SIM_FROM=1", "TMPDIR="+dir)
	}
	found, said, err := watch(run)
	switch {
	case err != nil:
		t.Fatalf("%v\n%s", err, said)
	case found == "":
		t.Fatalf("not found: %s", p.breaks)
	}
	cpu := run.ProcessState.UserTime() + run.ProcessState.SystemTime()
	t.Logf("found by %s: %s, in %v of processor time\n%s", by.run, found, cpu.Round(10*time.Millisecond), said)
}

// firstSeed is how a judge with seeds begins to tell of the first that fails.
var firstSeed = regexp.MustCompile(`\bseed \d+:`)

// saidLines is how much of what a judge says is shown, and saidTime how long it may take to say so.
const (
	saidLines = 40
	saidTime  = 2 * time.Second
)

// watch runs a judge until it fails, or until it tells of a seed that does: then it is ended. found is how it failed, empty
// if it did not; said is what it had to say at that.
func watch(run *exec.Cmd) (found, said string, err error) {
	out, err := run.StdoutPipe()
	if err != nil {
		return "", "", err
	}
	run.Stderr = run.Stdout
	if err := run.Start(); err != nil {
		return "", "", err
	}
	var lines []string
	for in := bufio.NewScanner(out); in.Scan(); {
		line := in.Text()
		if strings.HasPrefix(line, "=== ") || found == "" && strings.HasPrefix(line, "---") {
			continue
		}
		if strings.HasPrefix(line, "panic: ") && found == "" {
			err = errors.New("the judge itself fails")
		}
		if m := firstSeed.FindString(line); m != "" && found == "" {
			found, lines = strings.TrimSuffix(m, ":"), nil
			kill := time.AfterFunc(saidTime, func() { _ = run.Process.Kill() })
			defer kill.Stop()
		}
		if lines = append(lines, line); found != "" && len(lines) == saidLines {
			_ = run.Process.Kill()
			break
		}
		lines = lines[max(0, len(lines)-saidLines):]
	}
	_, _ = io.Copy(io.Discard, out)
	ended := run.Wait()
	if exit := (*exec.ExitError)(nil); ended != nil && !errors.As(ended, &exit) {
		err = errors.Join(err, ended)
	}
	if found == "" && ended != nil {
		found = "it fails"
	}
	return found, strings.Join(lines, "\n"), err
}

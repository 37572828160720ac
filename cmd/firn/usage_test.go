package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCalledWrongly(t *testing.T) {
	for _, tt := range []struct {
		args string
		want string
	}{
		{"consum", `firn has no command "consum", did you mean consume?`},
		{"topic lis", `firn topic has no command "lis", did you mean list?`},
		{"help nosuch", `there is no command "nosuch"`},
		{"help topic creat", `there is no command "topic creat"`},
		{"consume", "missing one TOPIC"},
		{"consume a b", `too many arguments, want one TOPIC: ["b"]`},
		{"consume a/b", `invalid topic name: "a/b"`},
		{"produce a/b", `invalid topic name: "a/b"`},
		{"topic list --bootstrap-server h", `--bootstrap-server "h": want HOST:PORT`},
		{"topic list --bootstrap-server h:", `--bootstrap-server "h:": want HOST:PORT`},
		{"topic list --bootstrap-server h:1,h:99999", `--bootstrap-server "h:1,h:99999": want HOST:PORT`},
		{"dev --listen 9092", `--listen "9092": want HOST:PORT`},
		{"dev --data=", "--data must not be empty"},
		{"consume a --group=", "--group must not be empty"}, // as a script has it whose variable is not set
		{"consume a --until=", "--until must not be empty"},
	} {
		r := firn(t, "", "", strings.Fields(tt.args)...)
		r.fails(t, exitUsage, "firn: "+tt.want)
		if !strings.Contains(r.err, "\nTry 'firn") || r.out != "" {
			t.Errorf("firn %s: out %q, err %q", tt.args, r.out, r.err)
		}
	}
}

func TestHelp(t *testing.T) {
	if by, flag := firn(t, "", "", "help", "topic", "create").ok(t), firn(t, "", "", "topic", "create", "--help").ok(t); by != flag || !strings.Contains(by, "Examples:") {
		t.Errorf("firn help topic create: %q, with the flag: %q", by, flag)
	}
	if v, flag := firn(t, "", "", "version").ok(t), firn(t, "", "", "--version").ok(t); v != flag || !strings.HasPrefix(v, "firn ") {
		t.Errorf("firn version: %q, firn --version: %q", v, flag)
	}
	if out := firn(t, "", "", "consume", "--help").ok(t); !strings.Contains(out, `FORMAT of a record (default %v\n)`) {
		t.Errorf("help of consume is %q", out)
	}
}

// Several faults are several lines, and each of them says whose it is.
func TestEachLineOfAnErrorNamesTheProgram(t *testing.T) {
	file := filepath.Join(t.TempDir(), "b.properties")
	if err := os.WriteFile(file, []byte("nosuch=1\nnum.partitions=x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := firn(t, "", "", "broker", "--config", file)
	r.fails(t, exitError, "firn: unknown setting nosuch")
	if lines := strings.Split(strings.TrimSuffix(r.err, "\n"), "\n"); len(lines) != 2 || !strings.HasPrefix(lines[1], "firn: setting num.partitions") {
		t.Errorf("got %q", r.err)
	}
}

// The lines to paste work where firn is not on the PATH, and firn config shows what firn dev would use.
func TestDevIsFoundAgain(t *testing.T) {
	out := newSyncBuffer()
	a := testApp("", nil, out, newSyncBuffer())
	a.program = "/src/bin/firn"
	a.newNode = (&fakeNode{addr: defaultBootstrap}).make
	stop := background(t, a, "dev", "--data", t.TempDir())
	out.waitFor(t, "Ctrl-C")
	if want := "\n  echo hello | /src/bin/firn produce demo\n  /src/bin/firn consume demo --from earliest\n"; !strings.Contains(out.String(), want) {
		t.Errorf("got %q", out)
	}
	stop()

	var got, errOut bytes.Buffer
	a = testApp("", nil, &got, &errOut)
	a.environ = func() []string { return []string{"FIRN_DATA=/elsewhere"} }
	a.newNode = (&fakeNode{err: errors.New("enough")}).make
	if code := run(t.Context(), a, []string{"config", "--dev", "log.dirs"}); code != exitOK ||
		!strings.Contains(got.String(), "log.dirs = /elsewhere/log\n    from default firn dev; list, default \"\", environment FIRN_LOG_DIRS\n") {
		t.Errorf("exit code %d, %q, %s", code, got.String(), errOut.String())
	}
}

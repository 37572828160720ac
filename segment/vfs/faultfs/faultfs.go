// Package faultfs wraps a vfs.FS so that tests can make a chosen call fail, tear, or wait.
//
// What belongs here: faults of single calls. What does not: power cuts, which are vfs.Mem's
// CrashClone; a Rule's Do is the place to take one.
package faultfs

import (
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"

	"firn/segment/vfs"
)

// Op names a call of vfs.FS, vfs.File or vfs.Mapping.
type Op string

// The calls that rules can name.
const (
	Create    Op = "create"
	Open      Op = "open"
	OpenRW    Op = "openrw"
	Remove    Op = "remove"
	RemoveAll Op = "removeall"
	Rename    Op = "rename"
	MkdirAll  Op = "mkdirall"
	ReadDir   Op = "readdir"
	Stat      Op = "stat"
	SyncDir   Op = "syncdir"
	Lock      Op = "lock"
	Usage     Op = "usage"
	ReadAt    Op = "readat"
	WriteAt   Op = "writeat"
	WriteV    Op = "writev"
	Size      Op = "size"
	Truncate  Op = "truncate"
	Sync      Op = "sync"
	Map       Op = "map"
	CopyAt    Op = "copyat"
	Close     Op = "close"
)

// changes are the calls that alter what is on the disk or make it durable: the places worth crashing
// before.
var changes = map[Op]bool{
	Create: true, Remove: true, RemoveAll: true, Rename: true, MkdirAll: true, SyncDir: true, Lock: true,
	WriteAt: true, WriteV: true, Truncate: true, Sync: true,
}

// Changes says whether op alters the disk or makes changes durable.
func (op Op) Changes() bool { return changes[op] }

// Rule says which calls to meddle with and how.
type Rule struct {
	// Op is the call; empty matches every call.
	Op Op
	// Glob matches the file's last element, or its whole path if the glob has a separator; empty
	// matches every file. Rename matches by either name.
	Glob string
	// Nth is the first matching call, counted from 1, that the rule acts on; 0 means 1.
	Nth int
	// Times is how many matching calls it acts on from there; 0 means 1, negative all.
	Times int
	// Do is called before anything else, without locks: it may wait, crash-clone, count.
	Do func(op Op, name string)
	// Err is returned instead of making the call. A Sync that fails so loses what was unsynced, as
	// a real one does: no later Sync makes up for it.
	Err error
	// Short makes a failing WriteAt or WriteV write that many bytes before it returns Err.
	Short int
}

// Injector holds the rules. The zero value has none. It is safe for concurrent use.
type Injector struct {
	mu    sync.Mutex
	rules []*Armed
}

// Armed is a Rule at work.
type Armed struct {
	injector *Injector
	rule     Rule
	calls    int // that matched
	hits     int // that it acted on
}

// Add arms a rule. Of several that match a call all run their Do, and the first with an Err fails it.
func (i *Injector) Add(r Rule) *Armed {
	i.mu.Lock()
	defer i.mu.Unlock()
	a := &Armed{injector: i, rule: r}
	i.rules = append(i.rules, a)
	return a
}

// Remove disarms the rule.
func (a *Armed) Remove() {
	a.injector.mu.Lock()
	defer a.injector.mu.Unlock()
	kept := make([]*Armed, 0, len(a.injector.rules))
	for _, other := range a.injector.rules {
		if other != a {
			kept = append(kept, other)
		}
	}
	a.injector.rules = kept
}

// Hits is how many calls the rule has acted on. A test that injects a fault should see that it bit.
func (a *Armed) Hits() int {
	a.injector.mu.Lock()
	defer a.injector.mu.Unlock()
	return a.hits
}

// Calls is how many calls matched, acted on or not.
func (a *Armed) Calls() int {
	a.injector.mu.Lock()
	defer a.injector.mu.Unlock()
	return a.calls
}

// before returns how the call is to fail, if it is.
func (i *Injector) before(op Op, names ...string) (Rule, error) {
	i.mu.Lock()
	var acting []*Armed
	for _, a := range i.rules {
		if a.matches(op, names) && a.due() {
			acting = append(acting, a)
		}
	}
	i.mu.Unlock()
	var failing Rule
	for _, a := range acting {
		if a.rule.Do != nil {
			a.rule.Do(op, names[0])
		}
		if failing.Err == nil {
			failing = a.rule
		}
	}
	if failing.Err == nil {
		return Rule{}, nil
	}
	return failing, &fs.PathError{Op: string(op), Path: names[0], Err: failing.Err}
}

func (a *Armed) matches(op Op, names []string) bool {
	if a.rule.Op != "" && a.rule.Op != op {
		return false
	}
	if a.rule.Glob == "" {
		return true
	}
	for _, name := range names {
		if !strings.ContainsRune(a.rule.Glob, filepath.Separator) {
			name = filepath.Base(name)
		}
		ok, err := filepath.Match(a.rule.Glob, name)
		if err != nil {
			panic("faultfs: glob " + a.rule.Glob + ": " + err.Error())
		}
		if ok {
			return true
		}
	}
	return false
}

func (a *Armed) due() bool {
	a.calls++
	first := max(a.rule.Nth, 1)
	if a.calls < first || a.rule.Times >= 0 && a.calls >= first+max(a.rule.Times, 1) {
		return false
	}
	a.hits++
	return true
}

// Wrap returns fsys with the injector's faults in front.
func Wrap(fsys vfs.FS, i *Injector) vfs.FS { return &faultFS{fsys: fsys, inject: i} }

type faultFS struct {
	fsys   vfs.FS
	inject *Injector
}

func (f *faultFS) Create(name string) (vfs.File, error) { return f.open(Create, name, f.fsys.Create) }

func (f *faultFS) Open(name string) (vfs.File, error) { return f.open(Open, name, f.fsys.Open) }

func (f *faultFS) OpenRW(name string) (vfs.File, error) { return f.open(OpenRW, name, f.fsys.OpenRW) }

func (f *faultFS) open(op Op, name string, call func(string) (vfs.File, error)) (vfs.File, error) {
	if _, err := f.inject.before(op, name); err != nil {
		return nil, err
	}
	file, err := call(name)
	if err != nil {
		return nil, err
	}
	return &faultFile{File: file, inject: f.inject}, nil
}

func (f *faultFS) Remove(name string) error { return f.call(Remove, name, f.fsys.Remove) }

func (f *faultFS) RemoveAll(name string) error { return f.call(RemoveAll, name, f.fsys.RemoveAll) }

func (f *faultFS) MkdirAll(dir string) error { return f.call(MkdirAll, dir, f.fsys.MkdirAll) }

func (f *faultFS) SyncDir(dir string) error { return f.call(SyncDir, dir, f.fsys.SyncDir) }

func (f *faultFS) call(op Op, name string, call func(string) error) error {
	if _, err := f.inject.before(op, name); err != nil {
		return err
	}
	return call(name)
}

func (f *faultFS) Rename(oldName, newName string) error {
	if _, err := f.inject.before(Rename, oldName, newName); err != nil {
		return err
	}
	return f.fsys.Rename(oldName, newName)
}

func (f *faultFS) ReadDir(dir string) ([]fs.DirEntry, error) {
	if _, err := f.inject.before(ReadDir, dir); err != nil {
		return nil, err
	}
	return f.fsys.ReadDir(dir)
}

func (f *faultFS) Stat(name string) (fs.FileInfo, error) {
	if _, err := f.inject.before(Stat, name); err != nil {
		return nil, err
	}
	return f.fsys.Stat(name)
}

func (f *faultFS) Lock(name string) (io.Closer, error) {
	if _, err := f.inject.before(Lock, name); err != nil {
		return nil, err
	}
	return f.fsys.Lock(name)
}

func (f *faultFS) Usage(dir string) (vfs.Usage, error) {
	if _, err := f.inject.before(Usage, dir); err != nil {
		return vfs.Usage{}, err
	}
	return f.fsys.Usage(dir)
}

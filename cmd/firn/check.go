package main

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/spf13/cobra"

	"firn/segment"
	"firn/segment/vfs"
)

// finding is something wrong as firn check shows it.
type finding struct {
	Path     string `json:"path"`
	Position int64  `json:"position"` // byte in the file
	What     string `json:"what"`
	Harmless bool   `json:"harmless"` // the broker mends it when it starts
}

func newCheck(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check DIR...",
		Short: "Verify log directories that no broker has open",
		Long: `Verify every batch, index and snapshot in log directories. Nothing is changed. What the broker
mends by itself when it starts is called harmless; anything else makes the exit code 1.`,
		Example: "  firn check ~/.local/share/firn/dev/log          # where firn dev keeps it\n  firn check /srv/firn/* --json",
		Args:    argCount(1, -1, "DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			found := []finding{}
			serious := 0
			for _, dir := range args {
				disk := &watchedFS{FS: vfs.OS(), ctx: cmd.Context(), bar: a.newProgress("read", bytesBelow(dir), humanBytes)}
				err := segment.Check(disk, dir, func(f segment.Finding) {
					if !f.Harmless {
						serious++
					}
					found = append(found, finding{f.Path, f.Offset, f.What, f.Harmless})
				})
				disk.bar.stop()
				if err != nil {
					return err
				}
			}
			if err := a.printFindings(found, asJSON); err != nil {
				return err
			}
			if serious > 0 {
				return fmt.Errorf("%d of %d findings are damage", serious, len(found))
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	return cmd
}

func (a *app) printFindings(found []finding, asJSON bool) error {
	if asJSON {
		return writeJSON(a.out, found)
	}
	if len(found) == 0 {
		_, err := fmt.Fprintln(a.out, "nothing found")
		return err
	}
	tab := newTable(a.out, "FILE", "POSITION", "HARMLESS", "WHAT")
	for _, f := range found {
		tab.row(f.Path, f.Position, f.Harmless, f.What)
	}
	return tab.flush()
}

// bytesBelow is the size of all files below dir, 0 if that cannot be told.
func bytesBelow(dir string) int64 {
	var sum int64
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			sum += info.Size()
		}
		return nil
	})
	return sum
}

// watchedFS counts what is read, and reads no more once the command is interrupted.
type watchedFS struct {
	vfs.FS
	ctx context.Context //nolint:containedctx // the file system knows none
	bar *progress
}

func (w *watchedFS) Open(name string) (vfs.File, error) {
	f, err := w.FS.Open(name)
	if err != nil {
		return nil, err
	}
	return &watchedFile{f, w}, nil
}

type watchedFile struct {
	vfs.File
	fs *watchedFS
}

func (f *watchedFile) ReadAt(p []byte, off int64) (int, error) {
	if f.fs.ctx.Err() != nil {
		return 0, errInterrupted
	}
	n, err := f.File.ReadAt(p, off)
	f.fs.bar.add(int64(n))
	return n, err
}

package main

import (
	"os"

	"golang.org/x/term"
)

// terminal returns the file behind a reader or writer if that is a terminal, whose user is a person.
func terminal(f any) (*os.File, bool) {
	if s, ok := f.(*stickyWriter); ok {
		f = s.w
	}
	file, ok := f.(*os.File)
	return file, ok && term.IsTerminal(int(file.Fd()))
}

func isTerminal(f any) bool {
	_, ok := terminal(f)
	return ok
}

// terminalWidth is how many columns a terminal has, 0 for anything else.
func terminalWidth(f any) int {
	file, ok := terminal(f)
	if !ok {
		return 0
	}
	width, _, err := term.GetSize(int(file.Fd()))
	if err != nil {
		return 0
	}
	return width
}

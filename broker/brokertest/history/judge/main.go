// Command judge reads a history that a driver has written as lines and tells what is wrong with it:
//
//	go run ./broker/brokertest/history/judge FILE
//
// It exits with 1 if anything is.
package main

import (
	"fmt"
	"os"

	"firn/broker/brokertest/history"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: judge FILE")
		os.Exit(2)
	}
	valid, err := judge(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "judge:", err)
		os.Exit(2)
	}
	if !valid {
		os.Exit(1)
	}
}

func judge(path string) (valid bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }()
	h, err := history.Read(f)
	if err != nil {
		return false, fmt.Errorf("%s: %w", path, err)
	}
	report := history.Check(h)
	return report.Valid, report.Write(os.Stdout)
}

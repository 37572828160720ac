package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// maxReadyBytes bounds what is taken of a console's answer about its broker.
const maxReadyBytes = 64 << 10

// fetchLease asks a broker's console whether its lease in etcd holds; what it says instead is the error.
func fetchLease(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/readyz", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("no console answers at %s: %w", addr, err)
	}
	defer func() { _ = resp.Body.Close() }()
	lines := bufio.NewScanner(io.LimitReader(resp.Body, maxReadyBytes))
	for lines.Scan() {
		name, text, _ := strings.Cut(lines.Text(), ": ")
		if name != "lease" {
			continue
		}
		if text == "ok" {
			return nil
		}
		return errors.New(text)
	}
	return errors.Join(fmt.Errorf("the console at %s says nothing of a lease", addr), lines.Err())
}

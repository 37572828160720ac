package metadata

import (
	"fmt"
	"testing"
)

// Errors and log lines tell listeners as settings have them.
func TestListenersAreToldAsInSettings(t *testing.T) {
	ls := []Listener{{Name: "PLAINTEXT", Protocol: "PLAINTEXT", Host: "::1", Port: 9092}, {Name: "B", Protocol: "PLAINTEXT", Host: "h", Port: 1}}
	if got, want := fmt.Sprintf("%v", ls), "[PLAINTEXT://[::1]:9092 B://h:1]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

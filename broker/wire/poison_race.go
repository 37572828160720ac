//go:build race

package wire

// poison makes released buffers unreadable under the race detector, so that a use after release
// shows as wrong bytes in the tests.
const poison = true

//go:build race

package wire

// raced says that each step costs ten times as much, and more memory.
const raced = true

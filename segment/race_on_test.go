//go:build race

package segment

// crashSeeds is few where each costs ten times as much.
const crashSeeds = 2

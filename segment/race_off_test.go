//go:build !race

package segment

const crashSeeds = 12

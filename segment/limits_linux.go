package segment

import (
	"bytes"
	"os"
	"strconv"
)

// processMappings is how many memory mappings this process may have.
func processMappings() int {
	b, err := os.ReadFile("/proc/sys/vm/max_map_count")
	if err != nil {
		return assumedMappings
	}
	n, err := strconv.Atoi(string(bytes.TrimSpace(b)))
	if err != nil || n <= 0 {
		return assumedMappings
	}
	return min(n, maxBudget)
}

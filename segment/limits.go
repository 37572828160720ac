package segment

// Limits taken where the system does not tell: those of a plain Linux process.
const (
	assumedFiles    = 1024
	assumedMappings = 65530

	// maxBudget keeps sums of an unlimited limit in range.
	maxBudget = 1 << 24
)

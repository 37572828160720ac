package api

// firsts drops what a request names again, in place. Where one entry of a few bytes may have a long answer, an answer for
// each repetition would let a small request fill the memory.
func firsts[T any, K comparable](list []T, key func(*T) K) []T {
	if len(list) < 2 {
		return list
	}
	seen := make(map[K]struct{}, len(list))
	kept := list[:0]
	for i := range list {
		k := key(&list[i])
		if _, again := seen[k]; !again {
			seen[k] = struct{}{}
			kept = append(kept, list[i])
		}
	}
	return kept
}

// itself is the key of what is its own.
func itself[T comparable](v *T) T { return *v }

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

// folded is firsts for topics with partitions: what is asked of a topic again is added to what was asked of it first, and each
// partition is there once. There are clients who of a topic that is twice in an answer only keep the second.
func folded[T, P any, K, I comparable](list []T, key func(*T) K, partitions func(*T) *[]P, index func(*P) I) []T {
	at := make(map[K]int, len(list))
	kept := list[:0]
	for i := range list {
		k := key(&list[i])
		if first, again := at[k]; again {
			into := partitions(&kept[first])
			*into = append(*into, *partitions(&list[i])...)
			continue
		}
		at[k] = len(kept)
		kept = append(kept, list[i])
	}
	for i := range kept {
		ps := partitions(&kept[i])
		*ps = firsts(*ps, index)
	}
	return kept
}

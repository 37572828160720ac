package coordinator

import "firn/metadata"

// Bounds of what is handed to the store in one piece. It takes 100 edits and 1 MiB into one transaction that
// several shards share.
const (
	maxEdits = 90
	maxPiece = 512 << 10
)

// pieces makes of results, in order, what the store applies one after the other. Of several edits of a key
// only the newest is left. The edits of one result stay together where they fit into one piece, so that
// few crashes fall between them.
func pieces(results []Result) [][]metadata.Edit {
	last := map[string]int{}
	n := 0
	for _, res := range results {
		for _, e := range res.Edits {
			last[e.Key] = n
			n++
		}
	}
	var out [][]metadata.Edit
	var piece []metadata.Edit
	size := 0
	n = 0
	cut := func(count, bytes int) {
		if len(piece) > 0 && (len(piece)+count > maxEdits || size+bytes > maxPiece) {
			out = append(out, piece)
			piece, size = nil, 0
		}
	}
	for _, res := range results {
		var keep []metadata.Edit
		bytes := 0
		for _, e := range res.Edits {
			if last[e.Key] == n {
				keep = append(keep, e)
				bytes += sizeOf(e)
			}
			n++
		}
		cut(len(keep), bytes)
		for _, e := range keep {
			cut(1, sizeOf(e))
			piece = append(piece, e)
			size += sizeOf(e)
		}
	}
	if len(piece) > 0 {
		out = append(out, piece)
	}
	return out
}

func sizeOf(e metadata.Edit) int { return len(e.Key) + len(e.Value) }

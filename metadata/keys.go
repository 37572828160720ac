package metadata

// Keys builds the keys of one cluster. The zero value is not useful; see NewKeys.
type Keys struct {
	root string // "/k/<cluster>/"
}

// NewKeys returns the keys of the cluster with that name (a short name an operator chose, not the
// cluster id).
func NewKeys(cluster string) Keys { return Keys{root: "/k/" + cluster + "/"} }

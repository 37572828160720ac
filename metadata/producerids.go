package metadata

import "context"

// ProducerIDBlock is the number of producer ids one NextProducerIDs takes.
const ProducerIDBlock = 1000

// NextProducerIDs reserves a block of producer ids that nobody else will ever get: [first, first+count).
func (s *Store) NextProducerIDs(ctx context.Context) (first, count int64, err error) {
	panic("unwritten")
}

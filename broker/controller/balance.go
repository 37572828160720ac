package controller

import (
	"cmp"
	"context"
	"slices"
	"time"

	"firn/metadata"
	"firn/metadata/topic"
)

const (
	// maxBalanceMoves bounds the leaders that change at a time for balance alone, and balancePause is the time from then to the next.
	maxBalanceMoves = 100
	balancePause    = time.Second
	// balanceAfter is how long a broker has to be up before leadership goes back to it.
	balanceAfter = 5 * time.Minute
)

// balance gives leadership back to preferred leaders once it is time to. It returns when to go on.
func (c *Controller) balance(ctx context.Context, img *metadata.Image) time.Duration {
	if c.opts.BalanceInterval == 0 {
		return whenChanged
	}
	now := time.Now()
	if wait := c.term.balanceAt.Sub(now); wait > 0 {
		return wait
	}
	c.term.balanceAt = now.Add(c.opts.BalanceInterval)
	e := newElector(img, c.opts.Defaults)
	moves := e.balance(now, int(c.opts.ImbalancePercent))
	switch len(moves) {
	case 0:
		return c.opts.BalanceInterval
	case maxBalanceMoves:
		c.term.balanceAt = now.Add(balancePause) // there may be more
	}
	txns := make([]metadata.Txn, len(moves))
	for i := range moves {
		p, _ := img.Partition(moves[i].Partition)
		txns[i] = c.replace(p, &moves[i])
		txns[i].Else = nil
	}
	c.log.Info("leadership goes back to preferred leaders", "partitions", len(moves))
	c.metrics.elections.Add(float64(len(moves)))
	return c.commitAll(ctx, txns)
}

// balance returns the records of partitions that their preferred leader is to lead again: of brokers that do not lead
// more than percent of the partitions that prefer them, and that have been up for a while at now; the worst first.
func (e *elector) balance(now time.Time, percent int) []metadata.PartitionState {
	type share struct {
		id    int32
		total int
		away  []*metadata.PartitionState // led by others
	}
	shares := map[int32]*share{}
	for p := range e.img.Partitions() {
		id := p.Replicas[0]
		if shares[id] == nil {
			shares[id] = &share{id: id}
		}
		s := shares[id]
		s.total++
		if p.Leader != id {
			s.away = append(s.away, p)
		}
	}
	var skewed []*share
	for id, s := range shares {
		b, alive := e.img.Broker(id)
		if alive && now.Sub(b.Started) >= balanceAfter && len(s.away)*100 > percent*s.total {
			skewed = append(skewed, s)
		}
	}
	slices.SortFunc(skewed, func(a, b *share) int {
		return cmp.Or(cmp.Compare(len(b.away)*a.total, len(a.away)*b.total), cmp.Compare(a.id, b.id))
	})
	var moves []metadata.PartitionState
	for _, s := range skewed {
		slices.SortFunc(s.away, func(a, b *metadata.PartitionState) int { return comparePartitions(a.Partition, b.Partition) })
		for _, p := range s.away {
			n := *p
			if len(moves) < maxBalanceMoves && e.prefer(&n) {
				moves = append(moves, n)
			}
		}
	}
	return moves
}

func comparePartitions(a, b topic.Partition) int {
	return cmp.Or(slices.Compare(a.ID[:], b.ID[:]), cmp.Compare(a.Index, b.Index))
}

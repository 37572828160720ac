package bites

import "slices"

// plant is a bug.
type plant struct {
	name   string
	hazard string // as the design numbers them, if it does
	breaks string // what goes wrong with it, and how
	edits  []edit
	by     []judge // each of them finds it

	// seeds is how many it took whole clusters under faults to find it, when that was counted (make bites SIM=n), or blind says
	// why they do not.
	seeds int
	blind string
}

// judges are all that find it. Goroutines run in another order each time, so that it may take more seeds than it took.
func (p *plant) judges() []judge {
	if p.seeds == 0 {
		return p.by
	}
	return append(slices.Clone(p.by), simulated(max(50, 4*p.seeds)))
}

// edit puts one text, which must occur exactly once in the file, in another's place.
type edit struct{ file, old, new string }

// judge is a test that fails with the bug.
type judge struct {
	pkg, run string
	seeds    int // of a simulation: within so many it is found
}

// simulated is the judgement of whole clusters, which takes about a second of a processor for each seed.
func simulated(seeds int) judge { return judge{"./broker/brokertest/sim", "^TestSeeds$", seeds} }

// tiered is that of the tier alone, with writers that die and readers that are behind.
func tiered(seeds int) judge { return judge{"./gc", "^TestSimulation$", seeds} }

// tested is that of one test.
func tested(pkg, name string) judge { return judge{pkg, "^" + name + "$", 0} }

// searched is that of all there is in small worlds.
var searched = tested("./broker/partition", "TestEverySmallWorld")

var plants = []plant{
	{
		name: "objects are named by their offsets alone", hazard: "H1",
		breaks: "whoever uploads the same range later, or gives up an upload that another has made, takes the committed object",
		edits: []edit{
			{
				"tiering/keys.go",
				"func (k Keys) Segment(tp topic.Partition, s manifest.Segment) string {\n",
				"func (k Keys) Segment(tp topic.Partition, s manifest.Segment) string {\n\ts.LeaderEpoch, s.BrokerEpoch, s.Attempt = 0, 0, 0\n",
			},
			{"tiering/upload_step.go", "objstore.Condition{IfAbsent: true})", "objstore.Condition{})"},
		},
		by:    []judge{tiered(50)},
		seeds: 73,
	},
	{
		name: "a retry is acknowledged before its batch", hazard: "H2",
		breaks: "a duplicate is told of a success that its original does not have yet",
		edits: []edit{{
			"broker/partition/append.go",
			"\ta.dropScratch()\n\ta.batch = nil\n\tr.await(a, done)\n}",
			"\ta.dropScratch()\n\ta.batch = nil\n\tdone.add(a, nil)\n}",
		}},
		by:    []judge{tested("./broker/partition", "TestRetryIsNotAcknowledgedBeforeItsOriginal")},
		seeds: 82,
	},
	{
		name: "a sync vouches for what came while it ran", hazard: "H2",
		breaks: "the durable end passes bytes that no sync has covered",
		edits: []edit{{
			"segment/commit.go",
			"\tl.setSynced(position{base: s.base, size: size, next: next})\n",
			"\tnext, size = s.bounds()\n\tl.setSynced(position{base: s.base, size: size, next: next})\n",
		}},
		by:    []judge{tested("./segment", "TestCommitReportsWhatItSynced")},
		blind: "a sync takes no time there, as a mutex is held over it, and time stands still while anybody waits for one",
	},
	{
		name: "a failed sync is tried again", hazard: "H2",
		breaks: "the second sync finds nothing dirty and succeeds, and what the first one dropped is acknowledged",
		edits: []edit{{
			"segment/commit.go",
			"\t\treturn l.disk.fail(fmt.Errorf(\"sync %s: %w\", h.log.Name(), err))\n\t}\n\tl.setSynced",
			"\t\treturn fmt.Errorf(\"sync %s: %w\", h.log.Name(), err)\n\t}\n\tl.setSynced",
		}},
		by:    []judge{tested("./segment", "TestSyncErrorUnderLoad")},
		blind: "not in 200 seeds: the next sync has to succeed, and power to go before whoever has the record leads",
	},
	{
		name: "the high watermark moves below min.insync.replicas", hazard: "H3",
		breaks: "those who left stay eligible without what is committed from then on",
		edits: []edit{{
			"broker/partition/quorum.go",
			"if len(q.isr) < minISR || len(q.elr) > 0 {",
			"if len(q.isr) == 0 {",
		}},
		by:    []judge{searched},
		seeds: 87,
	},
	{
		name: "a follower joins in a life that it did not fetch in", hazard: "H3",
		breaks: "one that has lost its disk since enters the in-sync set, empty",
		edits: []edit{
			{
				"metadata/partition_update.go",
				"guards = append(guards, CreatedAt(s.keys.Broker(j.ID), j.Epoch), ModIs(s.keys.Node(j.ID), j.NodeRev))",
				"_ = j",
			},
			{"broker/insync.go", "\tb, alive := im.Broker(j.ID)\n", "\t_, alive := im.Broker(j.ID)\n"},
			{"broker/insync.go", "alive && known && b.Epoch == j.BrokerEpoch && n.State", "alive && known && n.State"},
		},
		by:    []judge{tested("./broker", "TestJoinerIsGoneAndTheOutcomeUnknown")},
		blind: "not in the first tens of seeds: it has to lose its disk while its joining is being written, and to lead before it has fetched",
	},
	{
		name: "a new disk is taken for the old one", hazard: "H3",
		breaks: "a broker that has lost everything is still in sync, and is elected",
		edits: []edit{{
			"metadata/registration.go",
			"return LossAll // replaced, or an old copy",
			"return LossNone // replaced, or an old copy",
		}},
		by:    []judge{tested("./metadata", "TestLossesAddUp")},
		seeds: 148,
	},
	{
		name: "a broker that leaves has left before its replicas", hazard: "H3",
		breaks: "it is taken away with copies that count",
		edits: []edit{
			{"broker/controller/depart.go", "\t\tif busy[id] > 0 {\n\t\t\tcontinue\n\t\t}\n", ""},
			{"broker/controller/depart.go", "\tmoves, busy := e.depart(leaving)\n", "\tmoves, _ := e.depart(leaving)\n"},
		},
		by:    []judge{tested("./broker/controller", "TestBrokersLeaveForGood")},
		seeds: 299,
	},
	{
		name: "what waits to be synced waits for ever", hazard: "H3",
		breaks: "a relaxed topic that loses power everywhere has lost far more than the last flush.ms",
		edits: []edit{{
			"segment/append.go",
			"\tif !closed {\n\t\tl.Commit()\n\t}\n",
			"\t_ = closed\n",
		}},
		by:    []judge{tested("./segment", "TestFlushPolicy")},
		seeds: 69,
	},
	{
		name: "followers cut their logs at the high watermark", hazard: "H4",
		breaks: "a follower's high watermark lags: it cuts what is committed, and then leads",
		edits: []edit{
			{
				"broker/partition/leadership.go",
				"\tif err == nil && r.ledInVain() {\n",
				"\tif err == nil && old.epoch != st.LeaderEpoch {\n",
			},
			{
				"broker/partition/leadership.go",
				"\t\terr = r.storageError(\"forget epochs\", r.log.TruncateTo(r.log.Next()))\n",
				"\t\terr = r.storageError(\"forget epochs\", r.log.TruncateTo(max(r.hw.Load(), r.log.Start())))\n\t\tr.cutLocked()\n",
			},
		},
		by:    []judge{tested("./broker/partition", "TestRandomElections")},
		seeds: 5,
	},
	{
		name: "logs part unseen where one has an epoch of its own", hazard: "H4",
		breaks: "a follower whose last epoch the leader does not have goes on behind it (KIP-279)",
		edits: []edit{{
			"broker/partition/diverge.go",
			"return found < last || end < offset",
			"return end < offset",
		}},
		by:    []judge{searched},
		seeds: 569,
	},
	{
		name: "rot is cut like a torn tail", hazard: "H5",
		breaks: "what was synced long ago and has rotted is thrown away with all behind it, and the broker leads without it",
		edits: []edit{
			{
				"segment/verify.go",
				"if errors.Is(err, ErrCorrupt) && f.pos >= r.from.size && r.vouched {",
				"if errors.Is(err, ErrCorrupt) {",
			},
			{"segment/verify.go", "\tif good.size < r.from.size {\n\t\treturn good, f.bad(errNoData)\n\t}\n", ""},
			{"segment/verify.go", "Add(float64(good.size - r.from.size))", "Add(float64(max(0, good.size-r.from.size)))"},
		},
		by:    []judge{tested("./segment", "TestDamage")},
		seeds: 444,
	},
	{
		name: "a smaller in-sync set counts before it is committed", hazard: "H6",
		breaks: "what the one who leaves lacks is acknowledged, though it may still be elected",
		edits: []edit{{
			"broker/partition/quorum.go",
			"return about || slices.Contains(q.isr, f.id) || slices.Contains(q.proposed, f.id)",
			"return about || q.proposed == nil && slices.Contains(q.isr, f.id) || slices.Contains(q.proposed, f.id)",
		}},
		by:    []judge{searched},
		seeds: 82,
	},
	{
		name: "an in-sync set of unknown outcome is taken for refused", hazard: "H6",
		breaks: "the joiner does not hold the high watermark back, and may be in sync",
		edits: []edit{{
			"broker/insync.go",
			"\t\tc.unsure = true\n\t\treturn true\n",
			"\t\tc.replica.Refused(c.proposal)\n\t\treturn false\n",
		}},
		by:    []judge{tested("./broker", "TestJoiningWhenTheAnswerIsLost")},
		blind: "not in 150 seeds: the joiner has to lag again, and to lead, while the write is on its way",
	},
	{
		name: "a tier head of unknown outcome is taken for refused", hazard: "H6",
		breaks: "the object is deleted, and the swap that comes through names it",
		edits: []edit{
			{"tiering/swap.go", "const maxSwaps = 8\n", "const maxSwaps = 1\n"},
			{
				"tiering/upload_step.go",
				"\tcase errors.Is(err, ErrOrphan):\n",
				"\tcase err != nil && !errors.Is(err, ErrFenced):\n",
			},
		},
		by:    []judge{tiered(50)},
		seeds: 204,
	},
	{
		name: "an object that is gone is an offset out of range", hazard: "H7",
		breaks: "a reader with an older head meets a deletion, and its consumer resets past records that are there",
		edits: []edit{
			{
				"broker/partition/storage.go",
				"\tcase errors.Is(err, tiering.ErrMissing):\n\t\tr.reportCorruption(doing, err)\n\t}",
				"\tcase errors.Is(err, tiering.ErrMissing):\n\t\treturn fmt.Errorf(\"%s %s in the tier: %w: %w\", doing, r.tp, ErrOffsetOutOfRange, err)\n\t}",
			},
			{
				"tiering/reader.go",
				"\traw, _, err := r.o.Anchor.Load(ctx, tp)\n\tif err != nil {\n\t\treturn errors.Join(lost,",
				"\tif retry != nil {\n\t\treturn fmt.Errorf(\"%w: %w\", ErrMissing, lost)\n\t}\n\traw, _, err := r.o.Anchor.Load(ctx, tp)\n\tif err != nil {\n\t\treturn errors.Join(lost,",
			},
			{"tiering/archive.go", "\tif o.Grace <= 0 {\n\t\to.Grace = DefaultGrace\n\t}\n", "\to.Grace = 1\n"},
		},
		by:    []judge{tested("./broker/partition", "TestColdFetchErrors")},
		seeds: 1793,
	},
	{
		name: "an unclean election leaves the tier open to the past", hazard: "H8",
		breaks: "a leader of the past archives what the new one does not have",
		edits: []edit{{
			"broker/controller/elect_verb.go",
			"if c.opts.FenceTier == nil || !e.unclean(p, next) {",
			"if c.opts.FenceTier == nil || next.LeaderEpoch >= 0 {",
		}},
		by:    []judge{tested("./broker/controller", "TestUncleanElectionsFenceTheTier")},
		blind: "not in 200 seeds: an upload has to be on its way over a whole election, and not be given up",
	},
	{
		name: "a leader begins below the end of the tier", hazard: "H8",
		breaks: "offsets that the tier has are given again",
		edits: []edit{{
			"broker/partition/leadership.go",
			"\tif err := r.adoptTier(begins && r.partsFromTier()); err != nil {\n\t\treturn err\n\t}\n\tif err := r.lead(",
			"\tif err := r.lead(",
		}},
		by:    []judge{tested("./broker/partition", "TestLostDiskStartsAtTheTiersEnd")},
		seeds: 77,
	},
	{
		name: "a lease counts from the answer", hazard: "H9",
		breaks: "a broker believes in its lease when it is over, and answers from a memory that another has overtaken",
		edits: []edit{{
			"metadata/lease.go",
			"\tsent := l.opts.Clock()\n\tttl, err := l.opts.KV.KeepAlive(ctx, r.lease)\n",
			"\tttl, err := l.opts.KV.KeepAlive(ctx, r.lease)\n\tsent := l.opts.Clock()\n",
		}},
		by:    []judge{tested("./metadata", "TestLeaseCountsFromSendTime")},
		blind: "a renewal is given up after a quarter of the lease, so what is believed too long is a quarter of a second",
	},
	{
		name: "a lease stands until somebody says that it is over", hazard: "H9",
		breaks: "a broker that is cut off from the key space goes on as a leader and a coordinator of the past",
		edits: []edit{{
			"metadata/lease.go",
			"\treturn time.Duration(deadline) - l.opts.Clock()\n",
			"\treturn l.opts.TTL\n",
		}},
		by:    []judge{tested("./metadata", "TestLeaseIsNeverBelievedTooLong")},
		seeds: 207,
	},
	{
		name: "a log that begins at the tier's end knows no producers", hazard: "H12",
		breaks: "a retry of a batch that is in the tier is appended once more",
		edits: []edit{{
			"broker/partition/leadership.go",
			"return r.startAnewLocked(tail.End, epochs, tail.ProducerSnapshot)",
			"return r.startAnewLocked(tail.End, epochs, nil)",
		}},
		by:    []judge{tested("./broker/partition", "TestFollowerBeginsAtTheTiersEnd")},
		seeds: 497,
	},
	{
		name: "a log that is cut remembers the producers of what is gone", hazard: "H12",
		breaks: "a retry of a batch that was cut is taken for a duplicate, and the batch is lost",
		edits: []edit{{
			"segment/truncate.go",
			"\tif _, err := l.loadProducers(snaps, base); err != nil {\n\t\treturn true, err\n\t}\n\tif l.st",
			"\t_ = snaps\n\tif l.st",
		}},
		by:    []judge{tested("./broker/partition", "TestFollowerCutsWhatTheLeaderLacks")},
		blind: "not in the first tens of seeds: who was cut has to lead again before the batch that it lost is sent to anybody else",
	},
	{
		name: "commits are not guarded by the shard", hazard: "H13",
		breaks: "a coordinator of the past writes over what the present one has committed",
		edits: []edit{{
			"metadata/committer_batch.go",
			"\t\t\tb.txn.If = append(b.txn.If, g)\n",
			"",
		}},
		by:    []judge{tested("./metadata", "TestOwnersFlap")},
		seeds: 301,
	},
	{
		name: "commits are answered before they are written", hazard: "H13",
		breaks: "a coordinator that ends takes acknowledged offsets along",
		edits: []edit{{
			"broker/coordinator/shard.go",
			"\t\ts.queued = append(s.queued, res)\n\t\ts.write()\n",
			"\t\treply(res.Replies, nil)\n\t\tres.Replies = nil\n\t\ts.queued = append(s.queued, res)\n\t\ts.write()\n",
		}},
		seeds: 5,
	},
	{
		name: "who has committed nothing is at offset 0", hazard: "H13",
		breaks: "a consumer begins where nobody has told it to",
		edits: []edit{{
			"broker/group/offsets.go",
			"none := offset{offset: -1, leaderEpoch: -1}",
			"none := offset{offset: 0, leaderEpoch: -1}",
		}},
		by:    []judge{tested("./broker/group", "TestOffsets")},
		seeds: 1,
	},
	{
		name: "a topic's id follows from its name", hazard: "H14",
		breaks: "a topic that is made anew shows what the one before it has left",
		edits: []edit{
			{"broker/controller/topics.go", "ID: topic.NewID(), Name: t.Name}", "ID: idOf(t.Name), Name: t.Name}"},
			{
				"broker/controller/topics.go",
				"func tooMany(n int) error {\n",
				"func idOf(name string) (id topic.ID) {\n\tcopy(id[:], name+\"0123456789abcdef\")\n\treturn id\n}\n\nfunc tooMany(n int) error {\n",
			},
		},
		by:    []judge{tested("./broker/controller", "TestDeleteTopics")},
		seeds: 1,
	},
	{
		name: "readers see what is not committed", hazard: "H15",
		breaks: "fetches go to the log's end, and what they have read is cut off",
		edits: []edit{{
			"broker/partition/fetch.go",
			"\t\tlocal, hw := r.log.Start(), r.hw.Load()\n",
			"\t\tlocal, hw := r.log.Start(), r.log.Next()\n",
		}},
		by:    []judge{tested("./broker/partition", "TestRetryIsNotAcknowledgedBeforeItsOriginal")},
		seeds: 4,
	},
	{
		name: "an extent has no share in its file", hazard: "H15",
		breaks: "retention closes a file under a send, which sends what the descriptor stands for next",
		edits: []edit{
			{
				"segment/read.go",
				"\tif err != nil || e.size == 0 {\n\t\th.unref()\n\t\te.h = nil\n\t}\n",
				"\th.unref()\n\tif err != nil || e.size == 0 {\n\t\te.h = nil\n\t}\n",
			},
			{"segment/extent.go", "\tif e.h != nil {\n\t\te.h.unref()\n\t}\n\t*e", "\t*e"},
		},
		by:    []judge{tested("./segment", "TestExtent")},
		blind: "disks in memory have no descriptors to send from",
	},
	{
		name: "a frame is given back before its batches are written", hazard: "H15",
		breaks: "what another connection sends next is taken for what this one sent",
		edits: []edit{{
			"broker/api/00_produce.go",
			"\ta.data.Partitions.Produce(&c.parts)\n",
			"\treq.ReleaseFrame()\n\ta.data.Partitions.Produce(&c.parts)\n",
		}},
		by:    []judge{tested("./broker/api", "TestProduceEveryVersion")},
		seeds: 1,
	},
	{
		name: "an answer lies in memory that was given back", hazard: "H15",
		breaks: "a change that the controller has made is answered with what another connection brings",
		edits:  []edit{{"broker/wire/call.go", "resp.ReadFrom(bytes.Clone(body))", "resp.ReadFrom(append(body[:0], bytes.Clone(body)...))"}},
		by:     []judge{tested("./broker/wire", "TestAnswersAreTheirCallersToKeep")},
		blind:  "the simulation's clients send changes to the controller themselves",
	},
	{
		name:   "a search for a time passes the tier by",
		breaks: "a consumer begins behind records that are not older than it asked for",
		edits: []edit{{
			"broker/partition/offsets.go",
			"\tif start < local {\n\t\ts, ok, err := r.set.opts.Tier.FindTime(",
			"\tif start < 0 {\n\t\ts, ok, err := r.set.opts.Tier.FindTime(",
		}},
		by:    []judge{tested("./broker/partition", "TestListOffsetsAgainstModel")},
		seeds: 1,
	},
}

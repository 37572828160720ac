package tiering

// The object format, as FORMAT.md describes it.
const (
	// BlockBytes is the size at which a block of batches is closed, before compression. A batch that
	// is larger makes a block of its own. lz4 compresses 256 KiB nearly as well as more, and faster.
	BlockBytes = 256 << 10

	formatVersion = 1

	blockEntryLen   = 40
	abortedEntryLen = 32
	epochEntryLen   = 12
	sectionEntryLen = 16
	headerFixedLen  = 120
	trailerLen      = 64

	headerMagic  = "FTSH"
	trailerMagic = "FIRNSEG1"

	// maxObject is what a u32 position reaches.
	maxObject = 1<<32 - 1
	// maxSections bounds the section table; five kinds are known.
	maxSections = 64
)

// Kinds of footer sections. A reader skips kinds it does not know, unless sectionCritical is set.
const (
	sectionBlocks    = 1
	sectionAborted   = 2
	sectionProducers = 3
	sectionEpochs    = 4

	sectionCritical = 1 << 31
)

// Flags of a block: the codec.
const (
	codecRaw = 0
	codecLZ4 = 1
)

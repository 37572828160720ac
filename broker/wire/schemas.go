package wire

// schemas describes the request messages that are decoded, so that walk can tell, before anything is
// allocated, whether a frame holds what its counts and lengths claim. A test encodes random messages
// of every version with kmsg and demands that the walk ends at the last byte.
//
// Fields stand in wire order, each with the versions that have it if not all do:
//
//	1 2 4 8 16   so many bytes            s   string, null included
//	b            bytes, null included     *x  array of one of these
//	[...]        array of structs         ?(...)  struct or null
//	{n:(...)}    tagged field n holding a struct; tagged fields of plain values need no mention
//	a+: a-b:     versions a and up, versions a to b
//
// From version flexible on, lengths are compact and every struct ends in tagged fields.
var schemas = []struct {
	key, flexible int16
	fields        string
}{
	{0, 9, "3+:s 2 4 [0-12:s 13+:16 [4 b]]"},
	{1, 12, "0-14:4 4 4 3+:4 4+:1 7+:4 7+:4 [0-12:s 13+:16 [4 9+:4 8 12+:4 5+:8 4]] 7+:[7-12:s 13+:16 *4] 11+:s {1:(4 8)}"},
	{2, 6, "4 2+:1 [s [4 4+:4 8 0-0:4]] 10+:4"},
	{3, 9, "[10+:16 s] 4+:1 8-10:1 8+:1"},
	{8, 8, "s 1+:4 1+:s 7+:s 2-4:8 [0-9:s 10+:16 [4 8 1-1:8 6+:4 s]]"},
	{9, 6, "0-7:s 0-7:[s *4] 8+:[s 9+:s 9+:4 [8-9:s 10+:16 *4]] 7+:1"},
	{10, 3, "0-3:s 1+:1 4+:*s"},
	{11, 6, "s 4 1+:4 s 5+:s s [s b] 8+:s"},
	{12, 4, "s 4 s 3+:s"},
	{13, 4, "s 0-2:s 3+:[s s 5+:s]"},
	{14, 4, "s 4 s 3+:s 5+:s 5+:s [s b]"},
	{15, 5, "*s 3+:1"},
	{16, 3, "4+:*s 5+:*s"},
	{18, 3, "3+:s 3+:s 5+:s 5+:4"},
	{19, 5, "[s 4 2 [4 *4] [s s]] 4 1+:1"},
	{20, 4, "0-5:*s 6+:[s 16] 4"},
	{21, 2, "[s [4 8]] 4"},
	{22, 2, "s 4 3+:8 3+:2"},
	{23, 4, "3+:4 [s [4 2+:4 4]]"},
	{29, 2, "1 s 1+:1 s s 1 1"},
	{30, 2, "[1 s 1+:1 s s 1 1]"},
	{31, 2, "[1 s 1+:1 s s 1 1]"},
	{32, 4, "[1 s *s] 1+:1 3+:1"},
	{33, 2, "[1 s [s s]] 1"},
	{35, 2, "[s *4]"},
	{37, 2, "[s 4 [*4]] 4 1"},
	{42, 2, "*s"},
	{43, 2, "1+:1 [s *4] 4"},
	{44, 1, "[1 s [s 1 s]] 1"},
	{45, 0, "4 1+:1 [s [4 *4]]"},
	{46, 0, "4 [s *4]"},
	{47, noFlexible, "s [s [4]]"},
	{58, 0, "b b b"},
	{60, 0, "1 1+:1 2+:1"},
	{61, 0, "[s *4]"},
	{64, 0, "4"},
	{75, 0, "[s] 4 ?(s 4)"},
}

// noFlexible is above any version.
const noFlexible = 1<<15 - 1

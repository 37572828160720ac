package wire

import (
	"fmt"
	"strconv"
	"strings"
)

// What one decoded thing costs beyond the bytes of the frame it aliases.
const (
	costStruct = 8  // the map pointer of its unknown tags
	costTag    = 64 // an entry in that map
	costString = 32 // a string header, and the pointer to it if it may be null
	costSlice  = 24
	// costEntry is what an element of an array costs beyond its decoded form: what a handler makes of it, and its part
	// of the answer.
	costEntry = 128
)

type opKind uint8

const (
	opSkip   opKind = iota // n bytes
	opString               // int16 or compact length
	opBytes                // int32 or compact length
	opArray                // count, then elem each time
	opOption               // int8, -1 for null, then elem
	opTags                 // tagged fields
)

// op is one step of walking a message of one version.
type op struct {
	kind opKind
	n    int             // opSkip: bytes; opArray: least bytes of an element
	cost int             // opArray, opOption: memory of a decoded element itself
	elem []op            // opArray, opOption
	tags map[uint32][]op // opTags: the known fields that hold structs
}

// program is a message of one version as steps.
type program struct {
	flexible bool
	ops      []op
}

// programs is made from schemas once: by key, then by version.
var programs = compileSchemas()

// Decodable tells whether Decode knows a version of a key.
func Decodable(key, version int16) bool {
	p := programs[key]
	return version >= 0 && int(version) < len(p)
}

func compileSchemas() map[int16][]program {
	all := make(map[int16][]program, len(schemas))
	for _, s := range schemas {
		for v := range maxVersion(s.key) + 1 {
			p := schemaParser{src: s.fields, version: v, flexible: v >= s.flexible}
			ops, _, _ := p.fields("")
			if p.flexible {
				ops = p.endStruct(ops)
			}
			all[s.key] = append(all[s.key], program{flexible: p.flexible, ops: ops})
		}
	}
	return all
}

// schemaParser turns the text of one schema into the steps of one version.
type schemaParser struct {
	src      string
	pos      int
	version  int16
	flexible bool
	tags     map[uint32][]op // known fields of the struct being parsed
}

// fields parses up to the closing character. It returns the steps, the least bytes they take and
// the memory of the decoded struct.
func (p *schemaParser) fields(end string) (ops []op, least, cost int) {
	for {
		p.skipSpace()
		if end == "" && p.pos == len(p.src) {
			return ops, least, cost
		}
		if end != "" && p.src[p.pos] == end[0] {
			p.pos++
			return ops, least, cost
		}
		if p.src[p.pos] == '{' {
			p.tag()
			continue
		}
		has := p.versions()
		o, l, c := p.field()
		cost += c // the Go struct has every version's fields
		if !has {
			continue
		}
		least += l
		if last := len(ops) - 1; o.kind == opSkip && last >= 0 && ops[last].kind == opSkip {
			ops[last].n += o.n
			continue
		}
		ops = append(ops, o)
	}
}

func (p *schemaParser) skipSpace() {
	for p.pos < len(p.src) && p.src[p.pos] == ' ' {
		p.pos++
	}
}

// versions reads the range in front of a field, if any, and tells whether it holds the version.
func (p *schemaParser) versions() bool {
	word := p.src[p.pos:]
	if i := strings.IndexAny(word, " []{}()?*"); i >= 0 {
		word = word[:i]
	}
	i := strings.IndexByte(word, ':')
	if i < 0 {
		return true
	}
	p.pos += i + 1
	lo, hi, ranged := strings.Cut(word[:i], "-")
	if !ranged {
		return p.version >= number(strings.TrimSuffix(lo, "+"))
	}
	return p.version >= number(lo) && p.version <= number(hi)
}

func number(s string) int16 {
	n, err := strconv.ParseInt(s, 10, 16)
	if err != nil {
		panic(fmt.Sprintf("wire: bad schema: %v", err))
	}
	return int16(n)
}

// field parses one field without its versions.
func (p *schemaParser) field() (o op, least, cost int) {
	switch c := p.src[p.pos]; c {
	case 's', 'b':
		p.pos++
		return p.text(c)
	case '*':
		p.pos++
		elem, l, c := p.field()
		return op{kind: opArray, n: l, cost: c + costEntry, elem: []op{elem}}, p.lenBytes(4), costSlice
	case '[':
		p.pos++
		ops, l, c := p.structure("]")
		return op{kind: opArray, n: l, cost: c + costEntry, elem: ops}, p.lenBytes(4), costSlice
	case '?':
		p.pos += 2
		ops, _, c := p.structure(")")
		return op{kind: opOption, cost: c, elem: ops}, 1, costSlice
	}
	start := p.pos
	for p.pos < len(p.src) && p.src[p.pos] >= '0' && p.src[p.pos] <= '9' {
		p.pos++
	}
	n := int(number(p.src[start:p.pos]))
	return op{kind: opSkip, n: n}, n, n
}

func (p *schemaParser) text(c byte) (o op, least, cost int) {
	if c == 's' {
		return op{kind: opString}, p.lenBytes(2), costString
	}
	return op{kind: opBytes}, p.lenBytes(4), costSlice
}

// lenBytes is the least size of a length that takes n bytes where it is not compact.
func (p *schemaParser) lenBytes(n int) int {
	if p.flexible {
		return 1
	}
	return n
}

// structure parses a struct up to its closing character.
func (p *schemaParser) structure(end string) (ops []op, least, cost int) {
	outer := p.tags
	p.tags = nil
	ops, least, cost = p.fields(end)
	if p.flexible {
		ops = p.endStruct(ops)
		least++
	}
	p.tags = outer
	return ops, least, cost + costStruct
}

func (p *schemaParser) endStruct(ops []op) []op {
	return append(ops, op{kind: opTags, tags: p.tags})
}

// tag parses a known tagged field: {n:(...)}.
func (p *schemaParser) tag() {
	colon := strings.IndexByte(p.src[p.pos:], ':')
	n := number(p.src[p.pos+1 : p.pos+colon])
	p.pos += colon + 2
	ops, _, _ := p.structure(")")
	p.pos++ // the closing brace
	if p.tags == nil {
		p.tags = map[uint32][]op{}
	}
	p.tags[uint32(n)] = ops
}

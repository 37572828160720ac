// Package randmsg gives kmsg messages random contents, for tests of what reads and writes them.
//
// What belongs here: values of every field. What does not: what the values mean.
package randmsg

import (
	"math/rand/v2"
	"reflect"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Fill gives a message, as a pointer to its struct, random contents. Its version stays as it is.
func Fill(rng *rand.Rand, msg any) { fillValue(rng, reflect.ValueOf(msg).Elem()) }

var tagsType = reflect.TypeFor[kmsg.Tags]()

func fillValue(rng *rand.Rand, v reflect.Value) {
	if v.Type() == tagsType {
		tags := v.Addr().Interface().(*kmsg.Tags)
		for range rng.IntN(3) {
			tags.Set(1000+rng.Uint32N(1<<20), Bytes(rng))
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Name != "Version" {
				fillValue(rng, v.Field(i))
			}
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes(Bytes(rng))
			return
		}
		n := rng.IntN(4)
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			fillValue(rng, v.Index(i))
		}
	case reflect.Array:
		for i := range v.Len() {
			fillValue(rng, v.Index(i))
		}
	case reflect.Pointer:
		if rng.IntN(2) == 0 {
			v.SetZero()
			return
		}
		v.Set(reflect.New(v.Type().Elem()))
		fillValue(rng, v.Elem())
	case reflect.String:
		v.SetString(string(Bytes(rng)))
	case reflect.Bool:
		v.SetBool(rng.IntN(2) == 0)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(rng.Uint64()))
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(rng.Uint64())
	case reflect.Float64:
		v.SetFloat(rng.Float64())
	default:
		panic("randmsg: no contents for " + v.Type().String())
	}
}

// Bytes returns a few random bytes, seldom many.
func Bytes(rng *rand.Rand) []byte {
	b := make([]byte, rng.IntN(6))
	if rng.IntN(20) == 0 {
		b = make([]byte, 100+rng.IntN(200)) // lengths of two varint bytes
	}
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

package objtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"

	"firn/tiering/objstore"
)

// Each version of an object is one letter, as often as the letter says: a mixture of two shows.
func letters(version int) []byte {
	letter := byte(version % 26)
	return bytes.Repeat([]byte{'a' + letter}, 200_000+int(letter)*10_007)
}

func testReadWhileOverwrite(t *testing.T, b objstore.Bucket) {
	const versions, readers = 40, 4
	put(t, b, "k", letters(0))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for r := range readers {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					if i > 0 {
						return
					}
				default:
				}
				off := int64(0)
				if r%2 == 1 {
					off = 100_000
				}
				if err := readLetters(t, b, off); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for v := range versions {
		put(t, b, "k", letters(v+1))
	}
	close(stop)
	wg.Wait()
}

// readLetters reads from off, in small steps, and fails unless it all is of one version.
func readLetters(t *testing.T, b objstore.Bucket, off int64) error {
	body, err := b.Get(t.Context(), "k", off, -1)
	if err != nil {
		return err
	}
	defer body.Close()
	var got []byte
	buf := make([]byte, 16<<10)
	for {
		n, err := body.Read(buf)
		got = append(got, buf[:n]...)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	if len(got) == 0 {
		return errors.New("read nothing")
	}
	if exp := letters(int(got[0] - 'a'))[off:]; !bytes.Equal(got, exp) {
		return fmt.Errorf("read %s, want %s", brief(got), brief(exp))
	}
	return nil
}

func testConcurrent(t *testing.T, b objstore.Bucket) {
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 15 {
				if err := lifeOfKey(t, b, fmt.Sprintf("w/%d/%d", w%4, w*1000+i)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if keys := list(t, b, "", ""); len(keys) != 0 {
		t.Errorf("left over: %q", keys)
	}
}

// lifeOfKey does each verb on a key that nobody else knows, while others do the same beside it and
// their directories come and go.
func lifeOfKey(t *testing.T, b objstore.Bucket, key string) error {
	data := []byte("bytes of " + key)
	if _, err := b.Put(t.Context(), key, bytes.NewReader(data), objstore.Condition{IfAbsent: true}); err != nil {
		return err
	}
	got, err := read(t.Context(), b, key, 0, -1)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, data) {
		return fmt.Errorf("get %s: %s", key, brief(got))
	}
	found := 0
	err = b.List(t.Context(), key, "", func(info objstore.Info) error {
		if info.Key == key {
			found++
		}
		return nil
	})
	if err != nil {
		return err
	}
	if found != 1 {
		return fmt.Errorf("list finds %s %d times", key, found)
	}
	if err := b.Delete(t.Context(), key); err != nil {
		return err
	}
	if _, err := b.Head(t.Context(), key); !errors.Is(err, objstore.ErrNotFound) {
		return fmt.Errorf("head of deleted %s: %w", key, err)
	}
	return nil
}

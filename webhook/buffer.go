package webhook

import (
	"bytes"
	"sync"
)

// maxKept bounds a buffer that is kept for the next review, in bytes: one that a huge review made
// does not stay.
const maxKept = 256 << 10

// bufferPool keeps buffers from one review to the next.
type bufferPool struct{ pool sync.Pool }

//nolint:gochecknoglobals // a pool
var buffers bufferPool

// take returns an empty buffer.
func (p *bufferPool) take() *bytes.Buffer {
	if b, ok := p.pool.Get().(*bytes.Buffer); ok {
		return b
	}
	return &bytes.Buffer{}
}

// giveBack keeps a buffer that nobody reads any more.
func (p *bufferPool) giveBack(b *bytes.Buffer) {
	if b.Cap() <= maxKept {
		b.Reset()
		p.pool.Put(b)
	}
}

package httpclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/kedge-sync/kedge"
)

const (
	readSize = 32 << 10 // bytes per Read
	// maxTrust is how much of an announced length is believed before the bytes
	// are there: a server that lies must not cost memory.
	maxTrust = 16 << 20
)

// readBody reads the body of hr, which must not have more than max bytes. A
// body that ends early is an error: net/http compares it with Content-Length,
// the chunk marks and the gzip checksum. What was read is returned in any case.
// It is collected as a string, for what is decoded from it may alias it.
func readBody(hr *http.Response, max int64) (string, error) {
	tooLarge := &kedge.Error{Kind: kedge.TooLarge, Err: fmt.Errorf("the answer has more than %d bytes", max)}
	if !hasBody(hr) {
		return "", nil
	}
	if enc := hr.Header.Get("Content-Encoding"); enc != "" && enc != "identity" {
		return "", &kedge.Error{Kind: kedge.Invalid, Err: errors.New("the answer has a content encoding other than gzip")}
	}
	var text strings.Builder
	size := int64(readSize)
	if n := hr.ContentLength; n >= 0 {
		if n > max && hr.StatusCode < 400 {
			return "", tooLarge
		}
		text.Grow(int(min(n, max, maxTrust)))
		size = min(size, n+1) // room to see the end
	}
	buf := make([]byte, size)
	for {
		n, err := hr.Body.Read(buf)
		if int64(text.Len()+n) > max {
			text.Write(buf[:max-int64(text.Len())])
			return text.String(), tooLarge
		}
		text.Grow(n) // doubles, where Write would add a quarter
		text.Write(buf[:n])
		switch {
		case err == io.EOF:
			return text.String(), nil
		case err != nil:
			return text.String(), err
		}
	}
}

// hasBody reports whether an answer can have a body (RFC 9110, 6.4.1). Some
// that cannot still announce the length of one.
func hasBody(hr *http.Response) bool {
	return hr.Request.Method != http.MethodHead && hr.StatusCode != http.StatusNoContent && hr.StatusCode != http.StatusNotModified
}

// A body is the body of an answer with an idle timer. Closing it frees the
// place of the call.
type body struct {
	io.ReadCloser
	ctx   context.Context // of the try; carries the cause of its end
	timer *time.Timer     // ends the try
	idle  time.Duration
	done  func()
}

func (b *body) Read(p []byte) (int, error) {
	b.timer.Reset(b.idle)
	n, err := b.ReadCloser.Read(p)
	b.timer.Stop()
	if err != nil && err != io.EOF && context.Cause(b.ctx) != nil {
		err = context.Cause(b.ctx)
	}
	return n, err
}

func (b *body) Close() error {
	err := b.ReadCloser.Close()
	b.done()
	return err
}

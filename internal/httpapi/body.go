package httpapi

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"reflect"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/kedge-sync/kedge"
)

// ReadBody reads the body of r, plain or in gzip. A decoded body of exactly
// limit bytes passes; one more is 413. Other encodings are 415, a body that
// ends early or is not gzip is 400.
func ReadBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	zipped := false
	switch strings.ToLower(strings.TrimSpace(r.Header.Get("Content-Encoding"))) {
	case "", "identity":
		if r.ContentLength > limit {
			return nil, tooLarge(limit)
		}
	case "gzip", "x-gzip":
		zipped = true
	default:
		return nil, &Problem{Status: http.StatusUnsupportedMediaType, Detail: "the Content-Encoding is not supported; send the body plain or in gzip"}
	}
	// What is left to read is bounded, too, when nothing comes out of it:
	// gzip may be any number of empty members.
	raw := limit + 1
	if zipped {
		raw += limit/100 + 64<<10
	}
	src := io.Reader(http.MaxBytesReader(w, r.Body, raw))
	if zipped {
		zr, err := gzip.NewReader(src)
		if err != nil {
			return nil, bodyError(err, limit)
		}
		src = zr
	}
	var buf bytes.Buffer
	if r.ContentLength > 0 {
		buf.Grow(int(min(r.ContentLength, limit, 1<<20)) + bytes.MinRead)
	}
	if _, err := buf.ReadFrom(io.LimitReader(src, limit+1)); err != nil {
		return nil, bodyError(err, limit)
	}
	if int64(buf.Len()) > limit {
		return nil, tooLarge(limit)
	}
	return buf.Bytes(), nil
}

func tooLarge(limit int64) *Problem {
	return &Problem{Status: http.StatusRequestEntityTooLarge, Detail: fmt.Sprintf("the body is over %d bytes, the limit of this call", limit)}
}

// bodyError says what went wrong while a body was read.
func bodyError(err error, limit int64) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return tooLarge(limit)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &Problem{Status: http.StatusRequestTimeout, Detail: "the body did not arrive in time"}
	}
	if errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) {
		return &Problem{Status: http.StatusBadRequest, Detail: "the body is not gzip, as its Content-Encoding says"}
	}
	return &Problem{Status: http.StatusBadRequest, Detail: "the body could not be read to its end"}
}

// ReadJSON reads a body of at most limit bytes into dst. It is strict: unknown
// and repeated names, bad UTF-8 and anything after the value are 400, with a
// pointer to the place. A Content-Type that is not JSON is 415; none passes.
func ReadJSON(w http.ResponseWriter, r *http.Request, limit int64, dst any) error {
	if ct := r.Header.Get("Content-Type"); ct != "" {
		media, _, err := mime.ParseMediaType(ct)
		if err != nil || media != "application/json" && !strings.HasSuffix(media, "+json") {
			return &Problem{Status: http.StatusUnsupportedMediaType, Detail: "the Content-Type is not JSON; send application/json"}
		}
	}
	body, err := ReadBody(w, r, limit)
	if err != nil {
		return err
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return &Problem{Status: http.StatusBadRequest, Detail: "the body is empty; send JSON"}
	}
	if err := json.Unmarshal(body, dst, json.RejectUnknownMembers(true)); err != nil {
		return jsonProblem(err)
	}
	return nil
}

// jsonProblem says where and why a body is not what was asked for, without
// repeating any of it but names.
func jsonProblem(err error) error {
	at := func(p jsontext.Pointer, detail string) error {
		return &Problem{Status: http.StatusBadRequest, Detail: "the body is not accepted", Errors: []FieldError{{Pointer: string(p), Detail: detail}}}
	}
	if e, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		if errors.Is(e, jsontext.ErrDuplicateName) {
			return at(e.JSONPointer, "name given twice")
		}
		return at(e.JSONPointer, fmt.Sprintf("not valid JSON at byte %d", e.ByteOffset))
	}
	e, ok := errors.AsType[*json.SemanticError](err)
	if !ok {
		return at("", "not valid JSON")
	}
	if errors.Is(e, json.ErrUnknownName) {
		return at(e.JSONPointer, "unknown name")
	}
	if k, ok := errors.AsType[*kedge.Error](e.Err); ok {
		return at(e.JSONPointer, k.Error())
	}
	return at(e.JSONPointer, "must be "+wanted(e.GoType))
}

// wanted names what JSON a Go type takes.
func wanted(t reflect.Type) string {
	if t == nil {
		return "another value"
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a string"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Slice, reflect.Array:
		return "an array"
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return "an integer"
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "an integer that is not negative"
	}
	return "another value"
}

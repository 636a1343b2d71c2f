package odatatest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
)

// parseMultipart reads a batch of parts (Protocol 4.01, 11.7.7), each of which
// is a request or a change set.
func parseMultipart(body []byte, boundary string) ([]*batchItem, error) {
	var out []*batchItem
	seen := make(map[string]bool)
	sets := 0
	err := eachPart(body, boundary, func(kind string, params map[string]string, part *multipart.Part, raw []byte) error {
		if kind != "multipart/mixed" {
			item, err := parsePart(kind, part, raw)
			out = append(out, item)
			return err
		}
		sets++
		group := "changeset " + strconv.Itoa(sets)
		return eachPart(raw, params["boundary"], func(kind string, _ map[string]string, part *multipart.Part, raw []byte) error {
			item, err := parsePart(kind, part, raw)
			if err == nil && item.id == "" {
				err = badRequest("A request in a change set has no Content-ID.")
			}
			if err == nil {
				item.group = group
				out = append(out, item)
			}
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	for _, item := range out {
		if item.id != "" && seen[item.id] {
			return nil, badRequest("A Content-ID comes twice.")
		}
		seen[item.id] = true
	}
	return out, nil
}

// eachPart calls do for each part of a multipart body.
func eachPart(body []byte, boundary string, do func(kind string, params map[string]string, part *multipart.Part, raw []byte) error) error {
	if boundary == "" {
		return badRequest("The batch has no boundary.")
	}
	if !bytes.Contains(body, []byte("--"+boundary+"\r\n")) && !bytes.Contains(body, []byte("--"+boundary+"--")) {
		return badRequest("The boundary does not come in the batch, or its line does not end in CRLF.")
	}
	r := multipart.NewReader(bytes.NewReader(body), boundary)
	for {
		part, err := r.NextRawPart()
		if errors.Is(err, io.EOF) {
			return nil
		}
		var raw []byte
		if err == nil {
			raw, err = io.ReadAll(part)
		}
		if err != nil {
			return badRequest("The batch is malformed: %v.", err)
		}
		kind, params, err := mime.ParseMediaType(part.Header.Get("Content-Type"))
		if err != nil {
			return badRequest("A part of the batch has no Content-Type.")
		}
		if err := do(kind, params, part, raw); err != nil {
			return err
		}
	}
}

// parsePart reads a part that is a request, as HTTP/1.1 writes it.
func parsePart(kind string, part *multipart.Part, raw []byte) (*batchItem, error) {
	if kind != "application/http" {
		return nil, badRequest("A part of the batch is neither a request nor a change set.")
	}
	line, rest, ok := strings.Cut(string(raw), "\r\n")
	words := strings.Split(line, " ")
	if !ok || len(words) != 3 || !strings.HasPrefix(words[2], "HTTP/1.") || words[1] == "" {
		return nil, badRequest("A part of the batch does not begin with a request line that ends in CRLF.")
	}
	head, body, ok := strings.Cut("\r\n"+rest, "\r\n\r\n")
	if !ok {
		return nil, badRequest("The headers of a part of the batch do not end.")
	}
	header, err := textproto.NewReader(bufio.NewReader(strings.NewReader(strings.TrimPrefix(head, "\r\n") + "\r\n\r\n"))).ReadMIMEHeader()
	if err != nil {
		return nil, badRequest("The headers of a part of the batch are malformed.")
	}
	item := &batchItem{id: part.Header.Get("Content-ID"), method: words[0], url: words[1], header: http.Header(header), body: []byte(body)}
	if item.id == "" {
		item.id = header.Get("Content-Id")
	}
	if text := header.Get("Content-Length"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n > len(body) {
			return nil, badRequest("A part of the batch has a wrong Content-Length.")
		}
		item.body = item.body[:n]
	}
	return item, nil
}

// appendPart appends an answer as a part of a multipart body.
func appendPart(b []byte, boundary, id string, a *answer) []byte {
	b = fmt.Appendf(b, "--%s\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n", boundary)
	if id != "" {
		b = fmt.Appendf(b, "Content-ID: %s\r\n", id)
	}
	b = fmt.Appendf(b, "\r\nHTTP/1.1 %d %s\r\n", a.status, http.StatusText(a.status))
	var head bytes.Buffer
	a.header.Write(&head) // sorted; a Buffer does not fail
	b = append(b, head.Bytes()...)
	if len(a.body) > 0 {
		b = fmt.Appendf(b, "Content-Length: %d\r\n", len(a.body))
	}
	return append(append(append(b, "\r\n"...), a.body...), "\r\n"...)
}

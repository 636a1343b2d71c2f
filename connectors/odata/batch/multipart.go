package batch

import (
	"bytes"
	"mime"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
)

const crlf = "\r\n"

// encodeMultipart writes requests as parts of type application/http. Those of
// a group are in a change set, which is a part of its own.
func encodeMultipart(requests []Request, atomic bool, boundary string) []byte {
	var b bytes.Buffer
	outer := "batch_" + boundary
	inner := outer
	if atomic {
		inner = "changeset_" + boundary
		b.WriteString("--" + outer + crlf + "Content-Type: multipart/mixed;boundary=" + inner + crlf + crlf)
	}
	for i, r := range requests {
		b.WriteString("--" + inner + crlf)
		b.WriteString("Content-Type: application/http" + crlf + "Content-Transfer-Encoding: binary" + crlf)
		b.WriteString("Content-ID: " + id(i) + crlf + crlf)
		b.WriteString(r.Method + " " + r.URL + " HTTP/1.1" + crlf)
		for _, name := range sortedNames(r.Header) {
			b.WriteString(name + ": " + r.Header.Get(name) + crlf)
		}
		if r.Body != nil {
			b.WriteString("Content-Length: " + strconv.Itoa(len(r.Body)) + crlf)
		}
		b.WriteString(crlf)
		b.Write(r.Body)
		b.WriteString(crlf)
	}
	if atomic {
		b.WriteString("--" + inner + "--" + crlf)
	}
	b.WriteString("--" + outer + "--" + crlf)
	return b.Bytes()
}

func sortedNames(h http.Header) []string {
	names := make([]string, 0, len(h))
	for name := range h {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// maxNesting is the deepest nesting of multipart parts that is read. Change
// sets are one deep.
const maxNesting = 3

// readMultipart adds the parts between the delimiters of boundary, and those
// of parts that are multipart themselves. It reports whether the closing
// delimiter was there; without it, what follows the last delimiter is left out,
// for nobody knows whether it is whole.
func readMultipart(body, boundary string, depth int, parts *[]Part) (closed bool) {
	delimiter := "--" + boundary
	at, end := nextDelimiter(body, delimiter, 0)
	if at < 0 {
		return false
	}
	for {
		if isClosing(body[at:end], delimiter) {
			return true
		}
		next, nextEnd := nextDelimiter(body, delimiter, end)
		if next < 0 {
			return false
		}
		content := strings.TrimSuffix(strings.TrimSuffix(body[end:next], "\n"), "\r")
		if !readPart(content, depth, parts) {
			return false
		}
		at, end = next, nextEnd
	}
}

// nextDelimiter returns where the next line that is a delimiter begins, and
// where the line after it does.
func nextDelimiter(body, delimiter string, from int) (start, end int) {
	for from < len(body) {
		i := strings.Index(body[from:], delimiter)
		if i < 0 {
			return -1, -1
		}
		start = from + i
		end = len(body)
		if j := strings.IndexByte(body[start:], '\n'); j >= 0 {
			end = start + j + 1
		}
		rest := strings.TrimRight(body[start+len(delimiter):end], " \t\r\n")
		// A delimiter that ends with the body may be the first half of a line.
		whole := rest == "--" || rest == "" && end < len(body)
		if whole && (start == 0 || body[start-1] == '\n') {
			return start, end
		}
		from = start + len(delimiter)
	}
	return -1, -1
}

func isClosing(line, delimiter string) bool {
	return strings.HasPrefix(strings.TrimPrefix(line, delimiter), "--")
}

// readPart reads one part: a multipart part of its own, or an answer.
func readPart(content string, depth int, parts *[]Part) bool {
	header, rest := readHeader(content)
	media, params, _ := mime.ParseMediaType(header.Get("Content-Type"))
	if strings.HasPrefix(media, "multipart/") && params["boundary"] != "" {
		return depth < maxNesting && readMultipart(rest, params["boundary"], depth+1, parts)
	}
	line, rest, _ := strings.Cut(strings.TrimLeft(rest, "\r\n"), "\n")
	status, ok := readStatus(line)
	if !ok {
		*parts = append(*parts, Part{ID: header.Get("Content-ID")}) // no answer that could be read
		return true
	}
	p := Part{ID: header.Get("Content-ID"), Status: status}
	p.Header, p.Body = readHeader(rest)
	if p.ID == "" {
		p.ID = p.Header.Get("Content-ID") // where some services put it
	}
	*parts = append(*parts, p)
	return true
}

// readStatus reads "HTTP/1.1 201 Created".
func readStatus(line string) (int, bool) {
	f := strings.Fields(line)
	if len(f) < 2 || !strings.HasPrefix(f[0], "HTTP/") {
		return 0, false
	}
	status, err := strconv.Atoi(f[1])
	return status, err == nil && status >= 100 && status <= 599
}

// readHeader reads header lines up to an empty one. Lines that are none are
// left out.
func readHeader(s string) (http.Header, string) {
	h := http.Header{}
	for s != "" {
		var line string
		line, s, _ = strings.Cut(s, "\n")
		line = strings.TrimRight(line, "\r")
		if line == "" {
			break
		}
		if name, value, ok := strings.Cut(line, ":"); ok {
			h.Add(textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(name)), strings.TrimSpace(value))
		}
	}
	return h, s
}

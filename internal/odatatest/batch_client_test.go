package odatatest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
)

// A part is a request of a batch, and then what it is answered with.
type part struct {
	id, group, method, url, body string
	header                       string // "Name: value"
	dependsOn                    []string

	status   int
	location string
}

// String is what tests compare: id, group and status.
func (p part) String() string {
	text := p.id + "=" + fmt.Sprint(p.status)
	if p.group != "" {
		text = p.group + ":" + text
	}
	return text
}

// multipartBody writes parts as a client does: those of one group next to each
// other are a change set.
func multipartBody(parts []part) (contentType, body string) {
	var b strings.Builder
	one := func(boundary string, p part) {
		fmt.Fprintf(&b, "--%s\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n", boundary)
		if p.id != "" {
			fmt.Fprintf(&b, "Content-ID: %s\r\n", p.id)
		}
		fmt.Fprintf(&b, "\r\n%s %s HTTP/1.1\r\nContent-Type: %s\r\nAccept: %s\r\n", p.method, p.url, jsonType, jsonType)
		if p.header != "" {
			b.WriteString(p.header + "\r\n")
		}
		b.WriteString("\r\n" + p.body + "\r\n")
	}
	for i := 0; i < len(parts); i++ {
		p := parts[i]
		if p.group == "" {
			one("batch", p)
			continue
		}
		b.WriteString("--batch\r\nContent-Type: multipart/mixed;boundary=" + p.group + "\r\n\r\n")
		for ; i < len(parts) && parts[i].group == p.group; i++ {
			one(p.group, parts[i])
		}
		i--
		b.WriteString("--" + p.group + "--\r\n\r\n")
	}
	b.WriteString("--batch--\r\n")
	return "multipart/mixed;boundary=batch", b.String()
}

func jsonBody(parts []part) (contentType, body string) {
	var requests []map[string]any
	for _, p := range parts {
		headers := map[string]string{"content-type": jsonType, "accept": jsonType}
		if name, value, ok := strings.Cut(p.header, ": "); ok {
			headers[strings.ToLower(name)] = value
		}
		r := map[string]any{"id": p.id, "method": p.method, "url": p.url, "headers": headers}
		if p.body != "" {
			r["body"] = json.RawMessage(p.body)
		}
		if p.group != "" {
			r["atomicityGroup"] = p.group
		}
		if p.dependsOn != nil {
			r["dependsOn"] = p.dependsOn
		}
		requests = append(requests, r)
	}
	return "application/json", string(jsonText(map[string]any{"requests": requests}))
}

// sendBatch sends a batch in one of the formats and reads the answers.
func sendBatch(t testing.TB, url, format string, parts []part, headers ...string) (answers []part, raw response) {
	t.Helper()
	encode, decode := multipartBody, readMultipartAnswer
	if format == "json" {
		encode, decode = jsonBody, readJSONAnswer
	}
	contentType, body := encode(parts)
	raw = do(t, "POST", url+"$batch", body, append([]string{"Content-Type", contentType}, headers...)...)
	if raw.status != 200 {
		t.Fatalf("batch: status %d (%v): %s", raw.status, raw.err, raw.raw)
	}
	return decode(t, raw), raw
}

func readMultipartAnswer(t testing.TB, r response) (out []part) {
	t.Helper()
	read := func(contentType string, body io.Reader, do func(p *multipart.Part)) {
		_, params, err := mime.ParseMediaType(contentType)
		if err != nil {
			t.Fatal(err)
		}
		reader := multipart.NewReader(body, params["boundary"])
		for {
			p, err := reader.NextRawPart()
			if err == io.EOF {
				return
			}
			if err != nil {
				t.Fatalf("%v in %s", err, r.raw)
			}
			do(p)
		}
	}
	one := func(group string, p *multipart.Part) {
		resp, err := http.ReadResponse(bufio.NewReader(p), nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, part{id: p.Header.Get("Content-ID"), group: group, status: resp.StatusCode, location: resp.Header.Get("Location"), body: string(body)})
	}
	sets := 0
	read(r.header.Get("Content-Type"), strings.NewReader(r.raw), func(p *multipart.Part) {
		if kind := p.Header.Get("Content-Type"); strings.HasPrefix(kind, "multipart/mixed") {
			sets++
			read(kind, p, func(inner *multipart.Part) { one(fmt.Sprint("set", sets), inner) })
			return
		}
		one("", p)
	})
	return out
}

func readJSONAnswer(t testing.TB, r response) (out []part) {
	t.Helper()
	var body struct {
		Responses []struct {
			ID             *string
			AtomicityGroup string
			Status         int
			Headers        map[string]string
			Body           json.RawMessage
		}
		Next string `json:"@odata.nextLink"`
	}
	d := json.NewDecoder(bytes.NewReader([]byte(r.raw)))
	if err := d.Decode(&body); err != nil {
		t.Fatalf("%v in %s", err, r.raw)
	}
	for _, a := range body.Responses {
		p := part{group: a.AtomicityGroup, status: a.Status, location: a.Headers["location"], body: string(a.Body)}
		if a.ID != nil {
			p.id = *a.ID
		}
		out = append(out, p)
	}
	if body.Next != "" {
		out = append(out, readJSONAnswer(t, get(t, body.Next))...)
	}
	return out
}

// adding, changing and reading are parts of batches.
func adding(id, group, thing string) part {
	return part{id: id, group: group, method: "POST", url: "things", body: `{"id":"` + thing + `"}`}
}

func changing(id, group, thing, n string) part {
	return part{id: id, group: group, method: "PATCH", url: "things('" + thing + "')", body: `{"n":"` + n + `"}`, header: "If-Match: *"}
}

func reading(id, url string) part { return part{id: id, method: "GET", url: url} }

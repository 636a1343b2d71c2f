package odatatest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/kedge-sync/kedge"
)

// maxCommand is the most bytes of a request to /_test/.
const maxCommand = 16 << 20

// command carries out a request to /_test/:
//
//	POST   /_test/rows/{set}          whole rows, an object or an array of them
//	PATCH  /_test/rows/{set}          rows with their keys and what changes
//	DELETE /_test/rows/{set}?key=…    the canonical text of a key, again and again
//	POST   /_test/edit/{set}?n=…      n rows, see BenchEdit
//	GET    /_test/requests            what came so far; DELETE forgets it
//	GET    /_test/writes              what clients wrote so far; DELETE forgets it
//	GET    /_test/stats?set=…&fields=…
//	POST   /_test/fault               {"faults": ["cut=0.2"]}; replaces all
//	POST   /_test/expire              delta links given out so far
//	POST   /_test/approve?code=…      the sign-in with a user code
func (s *Service) command(r *http.Request) (*answer, error) {
	what, set, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/_test/"), "/")
	done := &answer{status: http.StatusNoContent, header: http.Header{}}
	query := r.URL.Query()
	r.Body = http.MaxBytesReader(nil, r.Body, maxCommand)
	switch r.Method + " " + what {
	case "POST rows", "PATCH rows":
		records, err := s.readRows(set, r.Body)
		if err != nil {
			return nil, err
		}
		return done, s.edit(set, records, r.Method == http.MethodPost)
	case "DELETE rows":
		var keys []kedge.Key
		for _, k := range query["key"] {
			keys = append(keys, kedge.Key(k))
		}
		return done, s.Delete(set, keys...)
	case "POST edit":
		n, err := strconv.Atoi(query.Get("n"))
		if err != nil || n < 1 {
			return nil, errors.New("n must be a number of 1 or more")
		}
		return done, s.BenchEdit(set, n)
	case "GET requests":
		return newAnswer("application/json", jsonText(s.Requests())), nil
	case "DELETE requests":
		s.ForgetRequests()
		return done, nil
	case "GET writes":
		return newAnswer("application/json", jsonText(s.Writes())), nil
	case "DELETE writes":
		s.ForgetWrites()
		return done, nil
	case "GET stats":
		var fields []string
		if f := query.Get("fields"); f != "" {
			fields = strings.Split(f, ",")
		}
		stats, err := s.Stats(query.Get("set"), fields...)
		return newAnswer("application/json", jsonText(stats)), err
	case "POST fault":
		var body struct{ Faults []string }
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			return nil, err
		}
		return done, s.SetFaults(body.Faults...)
	case "POST expire":
		s.Expire()
		return done, nil
	case "POST approve":
		if !s.Approve(query.Get("code")) {
			return nil, errors.New("unknown code")
		}
		return done, nil
	}
	return nil, errors.New("unknown command")
}

// readRows reads the rows of a command: JSON objects with a member for each
// field, complex ones under their path ("Address/City").
func (s *Service) readRows(set string, body io.Reader) ([]kedge.Record, error) {
	t := s.table(set)
	if t == nil {
		return nil, noSet(set)
	}
	raw, err := io.ReadAll(body)
	if err != nil {
		return nil, err
	}
	if trimmed := bytes.TrimSpace(raw); len(trimmed) > 0 && trimmed[0] == '{' {
		raw = []byte("[" + string(raw) + "]")
	}
	var rows []map[string]json.RawMessage
	if err := json.Unmarshal(raw, &rows); err != nil {
		return nil, err
	}
	var out []kedge.Record
	for _, row := range rows {
		var pairs []any
		for name, text := range row {
			i, ok := t.index[name]
			if !ok {
				return nil, errors.New("no field " + name)
			}
			v, err := fromJSON(t.props[i].Type, text)
			if err != nil {
				return nil, err
			}
			pairs = append(pairs, name, v)
		}
		out = append(out, Row(pairs...))
	}
	return out, nil
}

func fromJSON(t kedge.Type, raw json.RawMessage) (kedge.Value, error) {
	text := string(raw)
	if text == "null" {
		return kedge.Null(), nil
	}
	if t == kedge.TypeJSON {
		return kedge.JSON(text), nil
	}
	if text[0] == '"' {
		if err := json.Unmarshal(raw, &text); err != nil {
			return kedge.Value{}, err
		}
		if t == kedge.TypeBytes {
			text = strings.NewReplacer("+", "-", "/", "_").Replace(text)
			b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
			return kedge.Bytes(b), err
		}
	}
	return kedge.ParseText(t, text)
}

//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	_ "modernc.org/sqlite" // the driver of the tables
)

const table = "item"

// A shop is a foreign server with one entity set, and a folder with kedge's
// files for it.
type shop struct {
	*testing.T
	script  string
	set     string
	key     string
	quote   string            // around a key in a URL
	options string            // of the connection
	vague   bool              // a read of a record that is gone is not answered with 404
	columns map[string]string // local name by the server's
	found   []string          // in the output of connections test
	keys    [4]string         // of the record to change, delete and add there, and to add here
	edit    map[string]any    // a change there
	local   map[string]any    // a change here

	url, dir string
}

// start runs the server until the test ends.
func (s *shop) start() {
	s.Helper()
	cmd := exec.Command("node", s.script)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		s.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() { // it may greet before it says its URL
		if strings.HasPrefix(lines.Text(), "http://127.0.0.1:") {
			s.url = lines.Text()
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return
		}
	}
	s.Fatalf("%s ended without a URL: %v", s.script, lines.Err())
}

// site writes kedge's files.
func (s *shop) site() {
	s.Helper()
	s.dir = s.TempDir()
	options := s.options
	if options != "" {
		options = ", " + options
	}
	var fields strings.Builder
	for external, local := range s.columns {
		if external != s.key {
			fmt.Fprintf(&fields, "      - {external: %s, local: %s}\n", external, local)
		}
	}
	for name, text := range map[string]string{
		"kedge.yaml": fmt.Sprintf("version: 1\nconnections:\n  shop: {kind: odata, url: %q, pageSize: 10%s}\n"+
			"integrations: [{name: shop, external: shop, mapping: shop.yaml}]\n", s.url, options),
		"shop.yaml": fmt.Sprintf("kedge: mapping/v1\nentities:\n  - external: %s\n    local: %s\n    direction: bidirectional\n"+
			"    deletes: {download: delete, upload: delete}\n"+
			"    key: [{external: %s, local: id, primary: true}]\n    fields:\n%s", s.set, table, s.key, &fields),
	} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
			s.Fatal(err)
		}
	}
}

// kedge runs a command that must succeed, and returns what it prints.
func (s *shop) kedge(args ...string) string {
	s.Helper()
	cmd := exec.Command(kedgeBinary, args...)
	cmd.Dir = s.dir
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		s.Fatalf("kedge %s: %v\n%s%s", strings.Join(args, " "), err, out, &problems)
	}
	return string(out)
}

// quarantines runs a command that must end by telling of records in quarantine.
func (s *shop) quarantines(args ...string) {
	s.Helper()
	cmd := exec.Command(kedgeBinary, args...)
	cmd.Dir = s.dir
	out, err := cmd.CombinedOutput()
	if err == nil || cmd.ProcessState.ExitCode() != 3 {
		s.Fatalf("kedge %s: %v, want exit code 3\n%s", strings.Join(args, " "), err, out)
	}
}

// request sends a change to the server.
func (s *shop) request(method, key string, body map[string]any) {
	s.Helper()
	to := s.url + s.set
	if key != "" {
		to += "(" + s.quote + url.PathEscape(key) + s.quote + ")"
	}
	text, err := json.Marshal(body)
	if err != nil {
		s.Fatal(err)
	}
	req, err := http.NewRequestWithContext(s.Context(), method, to, bytes.NewReader(text))
	if err != nil {
		s.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.Fatal(err)
	}
	defer resp.Body.Close()
	if answer, _ := io.ReadAll(resp.Body); resp.StatusCode >= 300 {
		s.Fatalf("%s %s: %s\n%s", method, to, resp.Status, answer)
	}
}

// literal returns a key as the server and the table have it.
func (s *shop) literal(key string) any {
	if n, err := strconv.Atoi(key); err == nil && s.quote == "" {
		return n
	}
	return key
}

// same compares all rows of both sides.
func (s *shop) same(rows int) {
	s.Helper()
	there, here := s.there(), s.here()
	if len(there) != rows {
		s.Errorf("the server has %d rows, want %d", len(there), rows)
	}
	if d := cmp.Diff(there, here); d != "" {
		s.Fatalf("rows differ (- there, + here):\n%s", d)
	}
}

// there returns the server's rows by key, with values as text.
func (s *shop) there() map[string]map[string]string {
	s.Helper()
	resp, err := http.Get(s.url + s.set)
	if err != nil {
		s.Fatal(err)
	}
	defer resp.Body.Close()
	var page struct{ Value []map[string]any }
	dec := json.NewDecoder(resp.Body)
	dec.UseNumber()
	if err := dec.Decode(&page); err != nil {
		s.Fatal(err)
	}
	all := map[string]map[string]string{}
	for _, row := range page.Value {
		texts := map[string]string{}
		for external, local := range s.columns {
			texts[local] = fmt.Sprint(row[external])
			if truth, ok := row[external].(bool); ok { // SQLite has none
				texts[local] = map[bool]string{false: "0", true: "1"}[truth]
			}
		}
		all[texts["id"]] = texts
	}
	return all
}

// here returns the local rows.
func (s *shop) here() map[string]map[string]string {
	s.Helper()
	db := s.open()
	defer db.Close()
	rows, err := db.QueryContext(s.Context(), "SELECT * FROM "+table)
	if err != nil {
		s.Fatal(err)
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		s.Fatal(err)
	}
	all := map[string]map[string]string{}
	for rows.Next() {
		values, to := make([]any, len(names)), make([]any, len(names))
		for i := range values {
			to[i] = &values[i]
		}
		if err := rows.Scan(to...); err != nil {
			s.Fatal(err)
		}
		texts := map[string]string{}
		for i, name := range names {
			texts[name] = fmt.Sprint(values[i])
		}
		all[texts["id"]] = texts
	}
	if err := rows.Err(); err != nil {
		s.Fatal(err)
	}
	return all
}

func (s *shop) open() *sql.DB {
	s.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(s.dir, "kedge.db")+"?_pragma=busy_timeout(5000)")
	if err != nil {
		s.Fatal(err)
	}
	return db
}

// Command push is the floor of sending edits: it reads the edited customers of
// a SQLite database, sends them in batches of changes with entity tags, and
// stores what the service answers, in one commit for each batch.
package main

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"

	_ "modernc.org/sqlite"

	"github.com/kedge-sync/kedge/bench/floor/feed"
)

// batchSize is how many edits kedge sends at once too.
const batchSize = 100

const edited = `SELECT no, name, row_version FROM edited JOIN customer USING (no) ORDER BY no LIMIT ?`

func main() {
	root := flag.String("url", "", "root of the service")
	dsn := flag.String("dsn", "", "database with the edits")
	flag.Parse()
	var s feed.Summary
	err := push(*root, *dsn, &s)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(s)
	}
	if err != nil {
		log.Fatal(err)
	}
}

func push(root, dsn string, s *feed.Summary) error {
	db, err := sql.Open("sqlite", "file:"+dsn+"?_txlock=immediate&_pragma=journal_mode(wal)&_pragma=synchronous(full)")
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	for {
		edits, err := read(db)
		if err != nil || len(edits) == 0 {
			return errors.Join(err, db.Close())
		}
		if err := send(root, edits); err != nil {
			return err
		}
		if err := store(db, edits); err != nil {
			return err
		}
		s.Rows += len(edits)
	}
}

// An edit is a row to send, and what the service made of it.
type edit struct {
	no, name string
	version  int64
	modified string
}

func read(db *sql.DB) ([]edit, error) {
	rows, err := db.Query(edited, batchSize)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []edit
	for rows.Next() {
		var e edit
		if err := rows.Scan(&e.no, &e.name, &e.version); err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, rows.Err()
}

// send sends edits as one batch and fills in what the service answers.
func send(root string, edits []edit) error {
	var body bytes.Buffer
	for i, e := range edits {
		name, err := json.Marshal(e.name)
		if err != nil {
			return err
		}
		// The entity tag of the service is known from the row version.
		fmt.Fprintf(&body, "--b\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\nContent-ID: %d\r\n\r\n"+
			"PATCH customers('%s') HTTP/1.1\r\nAccept: %s\r\nContent-Type: application/json\r\nIf-Match: W/\"JzE5O;,%s\\='\"\r\nPrefer: return=representation\r\n\r\n{\"Name\":%s}\r\n",
			i+1, e.no, accept, strconv.FormatInt(e.version, 36), name)
	}
	body.WriteString("--b--\r\n")
	req, err := http.NewRequest(http.MethodPost, root+"$batch", &body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "multipart/mixed;boundary=b")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	return take(edits, string(answer))
}

const accept = "application/json;odata.metadata=minimal;IEEE754Compatible=true"

// take reads the answers, which come in the order of the edits.
func take(edits []edit, answer string) (err error) {
	for i := range edits {
		part, rest, found := strings.Cut(answer, `"ModifiedAt":"`)
		if !found || !strings.Contains(part, "HTTP/1.1 200") {
			return fmt.Errorf("edit %d was not applied: %.300s", i, answer)
		}
		edits[i].modified, _, _ = strings.Cut(rest, `"`)
		if edits[i].version, err = version(part); err != nil {
			return err
		}
		answer = rest
	}
	return nil
}

func version(part string) (int64, error) {
	_, rest, _ := strings.Cut(part, `"RowVersion":"`)
	digits, _, _ := strings.Cut(rest, `"`)
	return strconv.ParseInt(digits, 10, 64)
}

func store(db *sql.DB, edits []edit) error {
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	for _, e := range edits {
		if _, err := tx.Exec("UPDATE customer SET row_version = ?, modified_at = ? WHERE no = ?", e.version, e.modified, e.no); err != nil {
			return err
		}
		if _, err := tx.Exec("DELETE FROM edited WHERE no = ?", e.no); err != nil {
			return err
		}
	}
	return tx.Commit()
}

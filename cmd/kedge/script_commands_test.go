package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/odatatest"
	"github.com/kedge-sync/kedge/internal/store"
)

// exits N COMMAND ARG...: the command ends with exit code N.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// serve NAME [ROWS [USER PASSWORD]]: serves the sample data; its URL is $NAME.
func serve(ts *testscript.TestScript, _ bool, args []string) {
	o := odatatest.Options{Rows: 15}
	if len(args) > 1 {
		var err error
		o.Rows, err = strconv.Atoi(args[1])
		ts.Check(err)
	}
	if len(args) > 3 {
		o.Auth = odatatest.Auth{Kind: "basic", Username: args[2], Password: args[3]}
	}
	service := odatatest.New(o)
	srv := httptest.NewServer(service.Handler())
	ts.Defer(srv.Close)
	ts.Value("services").(map[string]*odatatest.Service)[args[0]] = service
	ts.Setenv(args[0], srv.URL+service.Root())
}

// servebc NAME: serves a Business Central that makes the numbers of customers
// and contacts; its URL is $NAME.
func servebc(ts *testscript.TestScript, _ bool, args []string) {
	entity := func(name, key string, fields ...string) kedge.Entity {
		e := kedge.Entity{Name: name, Key: strings.Fields(key)}
		for _, f := range e.Key {
			e.Fields = append(e.Fields, kedge.Field{Name: f, Type: kedge.TypeString, Computed: len(e.Key) == 1})
		}
		for _, f := range fields {
			e.Fields = append(e.Fields, kedge.Field{Name: f, Type: kedge.TypeString, Nullable: true})
		}
		return e
	}
	s := odatatest.New(odatatest.Options{Flavor: odatatest.BusinessCentral, Entities: []kedge.Entity{
		entity("RescoCustomer", "No", "Name", "Email", "HomePage", "PrimaryContacNo"),
		entity("RescoContact", "No", "Name", "CustomerNo"),
		entity("RescoServiceOrder", "documentType no", "description", "customerNo"),
		entity("Item", "No", "Name"),
	}})
	srv := httptest.NewServer(s.Handler())
	ts.Defer(srv.Close)
	ts.Value("services").(map[string]*odatatest.Service)[args[0]] = s
	ts.Setenv(args[0], srv.URL+s.Root())
}

func service(ts *testscript.TestScript, name string) *odatatest.Service {
	s := ts.Value("services").(map[string]*odatatest.Service)[name]
	if s == nil {
		ts.Fatalf("there is no service %s", name)
	}
	return s
}

// page NAME STATUS TYPE FILE: a server that answers everything with the file;
// its URL is $NAME.
func page(ts *testscript.TestScript, _ bool, args []string) {
	status, err := strconv.Atoi(args[1])
	ts.Check(err)
	body := ts.ReadFile(args[3])
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", args[2])
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body)) // the client may have gone
	}))
	ts.Defer(srv.Close)
	ts.Setenv(args[0], srv.URL+"/")
}

// demo NAME ARG...: runs "kedge demo odata ARG..." until the script ends; its
// URL is $NAME. It must end well when it is interrupted.
func demo(ts *testscript.TestScript, _ bool, args []string) {
	exe, err := os.Executable()
	ts.Check(err)
	cmd := exec.Command(exe, append([]string{"demo", "odata", "--listen", "127.0.0.1:0"}, args[1:]...)...)
	cmd.Args[0] = "kedge" // which testscript runs as the command
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	ts.Defer(func() {
		ts.Check(errors.Join(cmd.Process.Signal(os.Interrupt), cmd.Wait()))
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	ts.Check(err)
	ts.Setenv(args[0], strings.Fields(line)[1])
}

// put NAME SET FIELD=VALUE...: makes or changes a row, whose key is the field
// No. Decimals and the like are given as their text.
func put(ts *testscript.TestScript, _ bool, args []string) {
	s := service(ts, args[0])
	row := rowOf(ts, s, args[1], args[2:])
	err := s.Patch(args[1], row)
	if kedge.KindOf(err) == kedge.NotFound {
		err = s.Put(args[1], row)
	}
	ts.Check(err)
}

func rowOf(ts *testscript.TestScript, s *odatatest.Service, set string, pairs []string) kedge.Record {
	var all []any
	for _, e := range s.Entities() {
		for _, pair := range pairs {
			name, text, _ := strings.Cut(pair, "=")
			if f := e.Field(name); e.Name == set && f != nil {
				v, err := kedge.ParseText(f.Type, text)
				ts.Check(err)
				all = append(all, name, v)
			}
		}
	}
	if len(all) != 2*len(pairs) {
		ts.Fatalf("%s has not all of the fields of %q", set, pairs)
	}
	return odatatest.Row(all...)
}

// spoil NAME SET NO FIELD: gives a field of a row, or of the rows from the one
// to the other of NO..NO, a value of a wrong type.
func spoil(ts *testscript.TestScript, _ bool, args []string) {
	for _, no := range rangeOf(ts, args[2]) {
		ts.Check(service(ts, args[0]).Patch(args[1], odatatest.Row("No", kedge.String(no), args[3], kedge.JSON(`"much"`))))
	}
}

// mend NAME SET NO FIELD VALUE: gives it one of the right type.
func mend(ts *testscript.TestScript, _ bool, args []string) {
	s := service(ts, args[0])
	for _, no := range rangeOf(ts, args[2]) {
		ts.Check(s.Patch(args[1], rowOf(ts, s, args[1], []string{"No=" + no, args[3] + "=" + args[4]})))
	}
}

// rangeOf returns the keys of C00001..C00009, or the one key that text is.
func rangeOf(ts *testscript.TestScript, text string) []string {
	first, last, many := strings.Cut(text, "..")
	if !many {
		return []string{text}
	}
	from, err := strconv.Atoi(first[1:])
	ts.Check(err)
	to, err := strconv.Atoi(last[1:])
	ts.Check(err)
	var keys []string
	for i := from; i <= to; i++ {
		keys = append(keys, fmt.Sprintf("%s%0*d", first[:1], len(first)-1, i))
	}
	return keys
}

// delete NAME SET NO...: deletes rows.
func deleteRows(ts *testscript.TestScript, _ bool, args []string) {
	var keys []kedge.Key
	for _, no := range args[2:] {
		keys = append(keys, kedge.Key(no))
	}
	ts.Check(service(ts, args[0]).Delete(args[1], keys...))
}

// sql QUERY WANT: the query's first value in the database $DSN is WANT. With
// WANT left out it is a statement.
func query(ts *testscript.TestScript, _ bool, args []string) {
	ctx := context.Background()
	dsn := ts.Getenv("DSN")
	if file, ok := strings.CutPrefix(dsn, "sqlite:"); ok {
		dsn = "sqlite:" + ts.MkAbs(file)
	}
	s, err := store.Open(ctx, dsn, nil)
	ts.Check(err)
	defer s.Close()
	if len(args) == 1 {
		_, err := s.DB().ExecContext(ctx, args[0])
		ts.Check(err)
		return
	}
	var got any
	ts.Check(s.DB().QueryRowContext(ctx, args[0]).Scan(&got))
	if b, ok := got.([]byte); ok {
		got = string(b)
	}
	if fmt.Sprint(got) != args[1] {
		ts.Fatalf("%s: got %v, want %s", args[0], got, args[1])
	}
}

// capture NAME PATTERN FILE: $NAME becomes what the first group of the pattern
// matches in the file, which may be stdout or stderr.
func capture(ts *testscript.TestScript, _ bool, args []string) {
	m := regexp.MustCompile("(?m)" + args[1]).FindStringSubmatch(ts.ReadFile(args[2]))
	if len(m) < 2 {
		ts.Fatalf("%s is not in %s", args[1], args[2])
	}
	ts.Setenv(args[0], m[1])
}

// hides TEXT FILE...: the bytes of no file hold the text.
func hides(ts *testscript.TestScript, _ bool, args []string) {
	for _, file := range args[1:] {
		if strings.Contains(ts.ReadFile(file), args[0]) {
			ts.Fatalf("%s holds %s", file, args[0])
		}
	}
}

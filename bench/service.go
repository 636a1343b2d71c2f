package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"unicode/utf8"

	"github.com/kedge-sync/kedge/bench/floor/feed"
	"github.com/kedge-sync/kedge/internal/odatatest"
)

// A state is what is in the source, or in a sink: as many numbers as it takes
// to see that they are equal.
type state struct {
	Rows     int
	Versions int64 // sum of RowVersion
	Letters  int64 // sum of the lengths of Name, in characters
}

// A served is what the service process prints: at its start and after each
// change.
type served struct {
	URL   string
	Bytes int64 // of all pages
	State state
}

// serve is the service process. It answers each line of its input, a number of
// rows to change, and ends with its input.
func serve(args []string) error {
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	rows := flags.Int("rows", 0, "customers")
	if err := flags.Parse(args); err != nil {
		return err
	}
	s := odatatest.New(odatatest.Options{Sets: []odatatest.Set{customers(*rows)}, Version: odatatest.V40, Bench: true, NeedIfMatch: true})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	now := served{URL: "http://" + l.Addr().String() + s.Root()}
	go http.Serve(l, s.Handler())
	for in := bufio.NewReader(os.Stdin); ; {
		if err := now.read(); err != nil {
			return err
		}
		if err := json.NewEncoder(os.Stdout).Encode(now); err != nil {
			return err
		}
		var changes int
		if _, err := fmt.Fscanln(in, &changes); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if err := s.BenchEdit("customers", changes); err != nil {
			return err
		}
	}
}

// read reads all rows, which also makes the answers ready to be sent again.
func (s *served) read() error {
	s.State, s.Bytes = state{}, 0
	r := feed.Reader{URL: s.URL + feed.Select}
	for r.URL != "" {
		page, err := r.Next()
		if err != nil {
			return err
		}
		for i := range page {
			s.State.Versions += page[i].RowVersion
			s.State.Letters += int64(utf8.RuneCountInString(page[i].Name))
		}
		s.State.Rows += len(page)
		s.Bytes += int64(len(r.Body()))
	}
	return nil
}

// A service is the service process as the others see it.
type service struct {
	served
	cmd *exec.Cmd
	in  io.WriteCloser
	out *json.Decoder
}

// start starts a service with so many rows, and returns when it is ready.
func (b *bench) start(rows int) (*service, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	s := &service{cmd: exec.CommandContext(b.ctx, self, "serve", "-rows", fmt.Sprint(rows))}
	s.cmd.Stderr = os.Stderr
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	s.out = json.NewDecoder(out)
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	return s, s.ready()
}

func (s *service) ready() error {
	if err := s.out.Decode(&s.served); err != nil {
		return fmt.Errorf("the service does not answer: %w", err)
	}
	return nil
}

// change edits rows of the source.
func (s *service) change(rows int) error {
	if _, err := fmt.Fprintln(s.in, rows); err != nil {
		return err
	}
	return s.ready()
}

func (s *service) stop() error {
	if err := s.in.Close(); err != nil {
		return err
	}
	return s.cmd.Wait()
}

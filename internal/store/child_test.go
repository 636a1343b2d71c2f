package store_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/kedge-sync/kedge/internal/store"
)

// children are the programs that tests start as processes of their own.
var children = map[string]func(ctx context.Context, s *store.Store) error{
	"hold":    holdLease,
	"write":   writePages,
	"migrate": migrateAll,
}

// TestMain runs a child if the test binary was started as one.
func TestMain(m *testing.M) {
	run, ok := children[os.Getenv("STORE_TEST_CHILD")]
	if !ok {
		os.Exit(m.Run())
	}
	ctx := context.Background()
	s, err := store.Open(ctx, os.Getenv("STORE_TEST_DSN"), nil)
	if err == nil {
		err = run(ctx, s)
	}
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
}

// A child is a running process.
type child struct {
	*exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// begin ends the child's input, for which some wait.
func (c *child) begin() error { return c.in.Close() }

// start runs a child. It is killed at the end of the test at the latest.
func start(t *testing.T, name, dsn string) *child {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &child{Cmd: exec.Command(exe)}
	c.Env = append(os.Environ(), "STORE_TEST_CHILD="+name, "STORE_TEST_DSN="+dsn)
	c.Stderr = os.Stderr
	if c.in, err = c.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.out = bufio.NewReader(out)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.kill)
	return c
}

// line returns the next line that the child prints, or "" at the end.
func (c *child) line(t *testing.T) string {
	t.Helper()
	line, err := c.out.ReadString('\n')
	if err != nil && err != io.EOF {
		t.Fatal(err)
	}
	if strings.HasPrefix(line, "error:") {
		t.Fatalf("child: %s", line)
	}
	return strings.TrimSpace(line)
}

// kill ends the child with SIGKILL and waits for its end.
func (c *child) kill() {
	_ = c.Process.Kill()
	_ = c.Wait()
}

package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// A listener is a "kedge listen" that a script started.
type listener struct {
	*served
	out bytes.Buffer
}

// klisten NAME ARG...: runs "kedge listen ARG..." and goes on once it listens.
// "kheard NAME CODE" waits for its end.
func klisten(ts *testscript.TestScript, _ bool, args []string) {
	exe, err := os.Executable()
	ts.Check(err)
	cmd := exec.Command(exe, append([]string{"listen"}, args[1:]...)...)
	cmd.Args[0], cmd.Dir = "kedge", ts.MkAbs(".")
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "USER", "DSN", "SECRET", "KEDGE_SERVER", "KEDGE_TOKEN"} {
		if v := ts.Getenv(name); v != "" {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	l := &listener{served: &served{cmd: cmd, ended: make(chan error, 1)}}
	l.grew = sync.NewCond(&l.mu)
	cmd.Stderr, cmd.Stdout = l.served, &l.out
	ts.Check(cmd.Start())
	go func() {
		l.ended <- cmd.Wait()
		l.mu.Lock()
		defer l.mu.Unlock()
		l.done = true
		l.grew.Broadcast()
	}()
	listeners := ts.Value("listeners").(map[string]*listener)
	listeners[args[0]] = l
	ts.Defer(func() {
		if listeners[args[0]] == l {
			_ = l.stop(os.Interrupt) // the script failed already
		}
	})
	l.await(ts, 0, "listening on (http://[^;]+)")
	_, address, _ := strings.Cut(l.log.String(), "listening on ")
	address, _, _ = strings.Cut(address, ";")
	ts.Setenv(args[0], address)
}

// kheard NAME CODE: waits until a listener has ended with the exit code; what
// it printed is in the file NAME.
func kheard(ts *testscript.TestScript, _ bool, args []string) {
	listeners := ts.Value("listeners").(map[string]*listener)
	l := listeners[args[0]]
	delete(listeners, args[0])
	err, code := <-l.ended, 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), l.out.Bytes(), 0o600))
	if want, err := strconv.Atoi(args[1]); err != nil || code != want {
		ts.Fatalf("kedge listen ended with %d, want %s:\n%s%s", code, args[1], l.out.String(), l.log.String())
	}
}

// await SUB: waits until a delivery of the subscription was given up.
func await(ts *testscript.TestScript, _ bool, args []string) {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		ts.Check(ts.Exec("kedge", "subscriptions", "dead", args[0]))
		if strings.Contains(ts.ReadFile("stdout"), "msg_") {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("no delivery of %s was given up", args[0])
		}
	}
}

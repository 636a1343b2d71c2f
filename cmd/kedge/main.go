// Command kedge keeps systems in step that were never built to share records:
// it runs the integrations of a config file, shows what became of every
// record, and never forgets how far it got.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/kedge-sync/kedge/cmd/kedge/command"
	"github.com/kedge-sync/kedge/cmd/kedge/jobs"
)

func main() {
	boundMemory()
	os.Exit(run())
}

// boundMemory makes the garbage collector work harder once a sync needs a lot
// of memory: one of a million rows is to fit beside other programs. GOMEMLIMIT
// and GOGC in the environment win.
func boundMemory() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(108 << 20)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400) // below the limit, memory is cheaper than collecting it
	}
}

// run executes the command line and returns the exit code.
func run() int {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go interrupts(stop)
	if os.Getenv(jobs.ChildVariable) != "" {
		go endWithParent(stop)
	}
	root := command.New()
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	code := command.ExitCode(err)
	switch {
	case errors.Is(err, command.ErrShown):
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "kedge: stopped")
	default:
		fmt.Fprintln(os.Stderr, "kedge: "+err.Error())
	}
	return code
}

// endWithParent ends the command's context when the server that runs it as a
// job is gone, so that it does not work beside the server that takes over.
func endWithParent(stop context.CancelFunc) {
	signal.Ignore(syscall.SIGPIPE) // nobody reads standard error then
	// However reading ends, the other end of the pipe is closed.
	_, _ = io.Copy(io.Discard, os.Stdin)
	stop()
}

// interrupts ends the command's context at the first signal, so that a run
// stops after the page it is at, and the process at the second. Neither loses
// anything.
func interrupts(stop context.CancelFunc) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	<-signals
	stop()
	<-signals
	os.Exit(1)
}

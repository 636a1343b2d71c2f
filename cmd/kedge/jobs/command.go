package jobs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/kedge-sync/kedge/cmd/kedge/config"
)

// ChildVariable is set in the environment of commands that jobs run, to the
// job's name. Standard input of such a command ends when the server does, which
// must end the command, too.
const ChildVariable = "KEDGE_JOB"

// failureTime bounds the commands of onFailure.
const failureTime = 5 * time.Minute

// problem returns the key of a job that is wrong and what is wrong with it, or
// empty texts: beside what the config can see, whether there is such an
// integration or command.
func (s *Service) problem(ctx context.Context, j config.Job) (key, problem string) {
	if key, problem = j.Check(); problem != "" {
		return key, problem
	}
	if j.Integration != "" && s.opts.CheckIntegration != nil {
		if err := s.opts.CheckIntegration(ctx, j.Integration); err != nil {
			return "integration", err.Error()
		}
	}
	if err := s.checkCommand(j.Command); err != nil {
		return "command", err.Error()
	}
	if j.OnFailure != nil {
		if err := s.checkCommand(j.OnFailure.Command); err != nil {
			return "onFailure.command", err.Error()
		}
	}
	return "", ""
}

func (s *Service) checkCommand(line string) error {
	if line == "" || s.opts.CheckCommand == nil {
		return nil
	}
	words, err := config.Words(line)
	if err != nil {
		return err
	}
	return s.opts.CheckCommand(words)
}

// environment tells a command about the job.
func (f *firing) environment(o Outcome) []string {
	return []string{ChildVariable + "=" + f.job.Name, "KEDGE_JOB_INTEGRATION=" + f.job.Integration, "KEDGE_JOB_RUN=" + o.Run,
		"KEDGE_JOB_STATE=" + string(o.State), "KEDGE_CONFIG=" + f.s.config}
}

// onFailure runs the command for a run that failed.
func (f *firing) onFailure(ctx context.Context, o Outcome) {
	ctx, cancel := context.WithTimeout(ctx, failureTime)
	defer cancel()
	if res := f.s.command(ctx, f.job.OnFailure.Command, f.environment(o)); res.State != Succeeded {
		f.s.tell(ctx, f.job, "error", "on_failure", "the command of onFailure failed: "+res.Message)
	}
}

// command runs a command line as a child process of this program.
func (s *Service) command(ctx context.Context, line string, env []string) Outcome {
	words, err := config.Words(line)
	if err != nil {
		return Outcome{State: Failed, Message: err.Error(), Exit: 1}
	}
	exe, err := os.Executable()
	if err != nil {
		return Outcome{State: Failed, Message: err.Error(), Exit: 1}
	}
	cmd := exec.CommandContext(ctx, exe, words...)
	cmd.Args[0] = "kedge"
	cmd.Env = append(os.Environ(), env...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = s.opts.Patience
	alive, err := cmd.StdinPipe() // ends with this process, however that ends
	if err != nil {
		return Outcome{State: Failed, Message: err.Error(), Exit: 1}
	}
	defer alive.Close()
	var last tail
	cmd.Stderr = &last
	err = cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		return Outcome{State: Failed, Message: err.Error(), Exit: 1}
	} else if ok && exit.ExitCode() < 0 {
		return ended(ctx, Outcome{State: Failed, Message: "the command was killed", Exit: 1})
	}
	return ended(ctx, outcomeOf(cmd.ProcessState.ExitCode(), last.line()))
}

// ended makes a failure one that was asked for, if ctx ended.
func ended(ctx context.Context, o Outcome) Outcome {
	if ctx.Err() != nil && o.State != Succeeded {
		o.State = Cancelled
	}
	return o
}

// outcomeOf reads an exit code of kedge.
func outcomeOf(code int, said string) Outcome {
	o := Outcome{State: Failed, Exit: code, Message: fmt.Sprintf("exit code %d", code)}
	switch code {
	case 0:
		return Outcome{State: Succeeded}
	case 3:
		o.State = Partial
	case 4:
		o.State = Stopped
	}
	if said != "" {
		o.Message += ": " + said
	}
	return o
}

// A tail keeps the end of what a command writes on standard error.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const tailSize = 1024

// Write keeps the last bytes.
func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	if n := len(t.text) - tailSize; n > 0 {
		t.text = append(t.text[:0], t.text[n:]...)
	}
	return len(b), nil
}

// line returns the last line, without the program's name.
func (t *tail) line() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := bytes.TrimSpace(t.text)
	text = text[bytes.LastIndexByte(text, '\n')+1:]
	return strings.ToValidUTF8(strings.TrimPrefix(string(text), "kedge: "), "")
}

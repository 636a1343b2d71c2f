package command

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/kedge-sync/kedge/syncer"
)

// confirmReset returns what asks a person before a reset. Without a terminal
// only --yes goes on.
func confirmReset(yes bool) func(syncer.Reset) error {
	return func(r syncer.Reset) error {
		switch {
		case yes:
			return nil
		case !term.IsTerminal(int(os.Stdin.Fd())):
			return errors.New(r.Refusal())
		}
		return askReset(r, os.Stdin, os.Stderr)
	}
}

// askReset shows what is lost and has the name of the integration typed.
func askReset(r syncer.Reset, in io.Reader, out io.Writer) error {
	fmt.Fprintf(out, "Warning: all local rows of these entities are deleted and replaced by what the other side has.\nLocal changes that were not sent are lost.\n\n")
	g := newGrid(out, "ENTITY", "TABLE", "ROWS")
	for _, e := range r.Entities {
		g.row(e.Entity, e.Table, e.Rows)
	}
	g.end()
	fmt.Fprintf(out, "\nType %q to continue: ", r.Integration)
	answer, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && err != io.EOF {
		return err
	}
	if strings.TrimSpace(answer) != r.Integration {
		return errors.New("stopped; nothing was changed")
	}
	return nil
}

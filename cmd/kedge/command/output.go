package command

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/goccy/go-yaml"
	"golang.org/x/term"
)

// checkOutput settles the output format.
func (a *app) checkOutput() error {
	if a.json {
		a.output = "json"
	}
	if !slices.Contains([]string{"table", "json", "yaml"}, a.output) {
		return usagef("--output %q: must be table, json or yaml", a.output)
	}
	return nil
}

// print writes data as JSON or YAML if asked for, and else calls table.
func (a *app) print(w io.Writer, data any, table func(w io.Writer)) error {
	switch a.output {
	case "json":
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(data)
	case "yaml":
		text, err := json.Marshal(data)
		if err != nil {
			return err
		}
		out, err := yaml.JSONToYAML(text)
		if err != nil {
			return err
		}
		_, err = w.Write(out)
		return err
	}
	buffered := bufio.NewWriter(w)
	table(buffered)
	return buffered.Flush()
}

// A grid writes rows of cells in aligned columns.
type grid struct{ tw *tabwriter.Writer }

func newGrid(w io.Writer, header ...string) grid {
	g := grid{tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)}
	g.row(toAny(header)...)
	return g
}

func toAny(s []string) []any {
	out := make([]any, len(s))
	for i := range s {
		out[i] = s[i]
	}
	return out
}

func (g grid) row(cells ...any) {
	texts := make([]string, len(cells))
	for i, c := range cells {
		texts[i] = strings.NewReplacer("\t", " ", "\n", " ").Replace(fmt.Sprint(c))
		if texts[i] == "" {
			texts[i] = "-"
		}
	}
	fmt.Fprintln(g.tw, strings.Join(texts, "\t"))
}

func (g grid) end() { g.tw.Flush() }

// notNil makes an empty list print as [] and not as null.
func notNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// confirm asks a person to go on. Without a terminal only --yes does.
func confirm(yes bool, question string) error {
	if yes {
		return nil
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return &exitError{exitPerson, fmt.Errorf("%s: confirm with --yes", question)}
	}
	fmt.Fprintf(os.Stderr, "%s. Go on? [y/N] ", question)
	answer, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil && err != io.EOF {
		return err
	}
	if !strings.EqualFold(strings.TrimSpace(answer), "y") {
		return &exitError{exitPerson, fmt.Errorf("stopped; nothing was changed")}
	}
	return nil
}

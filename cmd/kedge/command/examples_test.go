package command

import (
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestExamples: every command that does something has examples, and they are
// command lines of that command.
func TestExamples(t *testing.T) {
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			visit(sub)
		}
		if c.Short == "" {
			t.Errorf("%s has no short help", c.CommandPath())
		}
		if c.HasSubCommands() {
			return
		}
		lines := strings.Split(strings.TrimSpace(c.Example), "\n")
		if c.Example == "" {
			t.Errorf("%s has no example", c.CommandPath())
			return
		}
		for _, line := range lines {
			checkExample(t, c.CommandPath(), strings.TrimSpace(line))
		}
	}
	root := New()
	visit(root)
}

// words splits a command line at spaces outside of quotes.
var words = regexp.MustCompile(`'[^']*'|"[^"]*"|[^ '"]+`)

func checkExample(t *testing.T, path, line string) {
	line, _, _ = strings.Cut(line, " > ") // redirection
	args := words.FindAllString(line, -1)
	if len(args) == 0 || args[0] != "kedge" {
		t.Errorf("example %q of %s does not begin with kedge", line, path)
		return
	}
	for i := range args {
		args[i] = strings.Trim(args[i], `'"`)
	}
	c, rest, err := New().Find(args[1:]) // flags keep their values, so a new tree for each
	if err != nil || c.CommandPath() != path {
		t.Errorf("example %q of %s runs %s (%v)", line, path, c.CommandPath(), err)
		return
	}
	if err := c.ParseFlags(rest); err != nil {
		t.Errorf("example %q of %s: %v", line, path, err)
		return
	}
	if err := c.ValidateArgs(c.Flags().Args()); err != nil {
		t.Errorf("example %q of %s: %v", line, path, err)
	}
}

package command

import (
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestExamples: every command has examples, and they are command lines of that
// command or of those below it.
func TestExamples(t *testing.T) {
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			visit(sub)
		}
		if c.Short == "" {
			t.Errorf("%s has no short help", c.CommandPath())
		}
		if strings.TrimSpace(c.Example) == "" {
			t.Errorf("%s has no example", c.CommandPath())
			return
		}
		for line := range strings.Lines(strings.TrimSpace(c.Example)) {
			checkExample(t, c, strings.TrimSpace(line))
		}
	}
	root := New()
	visit(root)
}

// words splits a command line at spaces outside of quotes.
var words = regexp.MustCompile(`'[^']*'|"[^"]*"|[^ '"]+`)

func checkExample(t *testing.T, of *cobra.Command, line string) {
	path := of.CommandPath()
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
	if err != nil || c.CommandPath() != path && !(of.HasSubCommands() && strings.HasPrefix(c.CommandPath(), path+" ")) {
		t.Errorf("example %q of %s runs %s (%v)", line, path, c.CommandPath(), err)
		return
	}
	if err := c.ParseFlags(rest); err != nil {
		t.Errorf("example %q of %s: %v", line, path, err)
		return
	}
	if names := c.Flags().Args(); c.HasSubCommands() && len(names) > 0 {
		t.Errorf("example %q of %s: there is no command %s", line, path, names[0])
	}
	if err := c.ValidateArgs(c.Flags().Args()); err != nil {
		t.Errorf("example %q of %s: %v", line, path, err)
	}
}

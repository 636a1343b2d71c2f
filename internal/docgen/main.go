// Command docgen writes the command reference, one page per command, into the
// folder that it is given. "make docs" runs it.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra/doc"

	"github.com/kedge-sync/kedge/cmd/kedge/command"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: docgen FOLDER")
		os.Exit(2)
	}
	root := command.New()
	root.DisableAutoGenTag = true
	err := os.MkdirAll(os.Args[1], 0o755)
	if err == nil {
		err = doc.GenMarkdownTree(root, os.Args[1])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "docgen:", err)
		os.Exit(1)
	}
}

package command

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/kedge-sync/kedge/cmd/kedge/config"
	"github.com/kedge-sync/kedge/mapping"
)

func (a *app) configCommand() *cobra.Command {
	print := &cobra.Command{
		Use: "print", Short: "Print the effective config, secrets as ***", Args: cobra.NoArgs, Example: examples("kedge config print"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.config()
			if err != nil {
				return err
			}
			text, err := cfg.Print()
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	}
	var ofMapping bool
	schema := &cobra.Command{
		Use: "schema", Short: "Print the JSON Schema of the config, for editors", Args: cobra.NoArgs,
		Example: examples("kedge config schema > kedge.schema.json", "kedge config schema --mapping > mapping.schema.json"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			text := mapping.JSONSchema()
			if !ofMapping {
				var err error
				if text, err = config.Schema(registry().Kinds()); err != nil {
					return err
				}
			}
			_, err := cmd.OutOrStdout().Write(text)
			return err
		},
	}
	schema.Flags().BoolVar(&ofMapping, "mapping", false, "the schema of mapping files")
	return group("config", "Print the config and its schema", print, schema)
}

// showFindings prints what a check found and reports whether any of it is an
// error.
func showFindings(out io.Writer, name string, findings []mapping.Finding) bool {
	wrong := false
	for _, f := range findings {
		wrong = wrong || f.Severity == mapping.SeverityError
		where := name + " " + f.Entity
		if f.Field != "" {
			where += "." + f.Field
		}
		fmt.Fprintf(out, "%s: %s: %s: %s", f.Severity, where, f.Code, f.Message)
		if f.Fix != "" {
			fmt.Fprintf(out, "; fix: %s", f.Fix)
		}
		fmt.Fprintln(out)
	}
	if !wrong {
		fmt.Fprintln(out, "ok "+name)
	}
	return wrong
}

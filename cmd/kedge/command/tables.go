package command

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/mapping"
)

func (a *app) mapTables() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "tables NAME", Short: "Make the local tables and columns that the mapping needs", Args: cobra.ExactArgs(1),
		Long:    "Prints the statements for what is missing and, after a question or with --yes, carries them out. Nothing is ever dropped or narrowed. With create and onMissingColumn in the connection, runs do it by themselves.",
		Example: examples("kedge map tables crm", "kedge map tables crm --yes"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, i, err := a.integration(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			m, err := i.Parse()
			if err != nil {
				return usage(err)
			}
			ext, err := s.SchemaOf(cmd.Context(), i.External, i.Name)
			if err != nil {
				return err
			}
			conn, err := a.connect(cmd.Context(), i.Local, i.Name)
			if err != nil {
				return err
			}
			defer conn.Close()
			return makeTables(cmd, conn, mapping.Tables(m, ext), yes)
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}

// tablesOf returns the local entities that a draft's mapping needs.
func tablesOf(d *draft) []kedge.Entity { return mapping.Tables(d.mapping, d.ext) }

func makeTables(cmd *cobra.Command, conn *connectors.Conn, want []kedge.Entity, yes bool) error {
	editor, ok := conn.Driver().(connectors.SchemaEditor)
	if !ok {
		return errors.New("the local connection cannot make tables")
	}
	steps, err := editor.PlanSchema(cmd.Context(), want)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if len(steps) == 0 {
		_, err := fmt.Fprintln(out, "the local tables have all that the mapping needs")
		return err
	}
	for _, step := range steps {
		fmt.Fprintln(out, step.Text+";")
	}
	if err := confirm(yes, "these statements will be carried out"); err != nil {
		return err
	}
	if err := editor.ApplySchema(cmd.Context(), steps); err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, "done")
	return err
}

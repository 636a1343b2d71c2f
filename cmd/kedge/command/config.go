package command

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

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

func (a *app) checkCommand() *cobra.Command {
	var offline bool
	c := &cobra.Command{
		Use: "check", Short: "Check the config and all mappings against the live systems", Args: cobra.NoArgs,
		Long: `Reads the config, asks every connection that an integration uses for its
metadata and compares each mapping with both sides. Exit code 2 means that
something in a file is wrong, 1 that a system could not be asked.`,
		Example: examples("kedge check", "kedge check --offline"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.config()
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if !offline {
				if _, err := a.open(cmd.Context()); err != nil {
					return err
				}
			}
			if err := a.checkConnections(cmd.Context(), cfg); err != nil {
				return err
			}
			if offline {
				return a.checkFiles(out, cfg)
			}
			s, err := a.sync(cmd.Context())
			if err != nil {
				return err
			}
			all, err := s.Integrations(cmd.Context())
			if err != nil {
				return err
			}
			wrong := false
			for _, i := range all {
				findings, err := s.Check(cmd.Context(), i)
				if err != nil {
					return fmt.Errorf("integration %s: %w", i.Name, err)
				}
				wrong = showFindings(out, i.Name, findings) || wrong
			}
			if wrong {
				return usage(ErrShown)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&offline, "offline", false, "check the files only and ask no system")
	return c
}

// checkConnections checks the settings of all connections and asks no system.
// Those of kedge's own database need it to be open.
func (a *app) checkConnections(ctx context.Context, cfg *config.Config) error {
	for _, name := range slices.Sorted(maps.Keys(cfg.Connections)) {
		if a.store == nil && a.isOwnDatabase(name) {
			continue
		}
		conn, err := a.connect(ctx, name, "")
		if err != nil {
			return err
		}
		if err := conn.Close(); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) checkFiles(out io.Writer, cfg *config.Config) error {
	for _, in := range cfg.Integrations {
		src, err := os.ReadFile(in.Mapping)
		if err != nil {
			return usagef("integration %s: mapping: %v", in.Name, err)
		}
		if _, err := mapping.Parse(in.Mapping, src); err != nil {
			return usage(err)
		}
		fmt.Fprintf(out, "ok %s (%s, not compared with the live systems)\n", in.Name, in.Mapping)
	}
	if len(cfg.Integrations) == 0 {
		fmt.Fprintln(out, "ok (no integrations)")
	}
	return nil
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

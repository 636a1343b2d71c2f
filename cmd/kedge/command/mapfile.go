package command

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/kedge-sync/kedge/mapping"
)

func (a *app) mapTest() *cobra.Command {
	return &cobra.Command{
		Use: "test NAME FILE", Short: "Map example records and compare with what is expected", Args: cobra.ExactArgs(2),
		Long: `The file holds examples in YAML or JSON:

tests:
  - {entity: customers, external: {No: C1, Balance: 19.90}, want: {id: C1, balance: "19.90"}}
  - {entity: customers, external: {No: C2, Balance: much}, fails: {field: Balance, code: conversion}}
  - {entity: customers, local: {id: C1, balance: "19.90"}, wantExternal: {Balance: 19.90}}`,
		Example: examples("kedge map test crm examples.yaml"),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := a.draft(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			src, err := os.ReadFile(args[1])
			if err != nil {
				return usage(err)
			}
			tests, err := mapping.ParseExamples(args[1], src)
			if err != nil {
				return usage(err)
			}
			plan, err := mapping.Compile(d.mapping, d.ext, d.loc, time.Now())
			if err != nil {
				return usage(err)
			}
			failed := 0
			for _, r := range plan.Test(tests) {
				if len(r.Failures) == 0 {
					fmt.Fprintf(cmd.OutOrStdout(), "ok %s:%d %s\n", args[1], r.Line, r.Name)
					continue
				}
				failed++
				for _, f := range r.Failures {
					fmt.Fprintf(cmd.OutOrStdout(), "FAIL %s:%d %s: %s\n", args[1], r.Line, r.Name, f)
				}
			}
			if failed > 0 {
				return fmt.Errorf("%d of %d examples failed", failed, len(tests))
			}
			return nil
		},
	}
}

func (a *app) mapExport() *cobra.Command {
	var entity, out string
	c := &cobra.Command{
		Use: "export NAME", Short: "Write the mapping in its canonical form", Args: cobra.ExactArgs(1),
		Long:    "The file names no connection and holds no secret, so that it can be imported elsewhere.",
		Example: examples("kedge map export crm -f crm.yaml", "kedge map export crm --entity customers"),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, i, err := a.integration(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			m, err := i.Parse()
			if err != nil {
				return usage(err)
			}
			if entity != "" {
				if m, err = m.Only(entity); err != nil {
					return usage(err)
				}
			}
			return writeTo(out, cmd.OutOrStdout(), m.Marshal())
		},
	}
	c.Flags().StringVar(&entity, "entity", "", "only this entity of the mapping")
	c.Flags().StringVarP(&out, "file", "f", "", "file to write; default: standard output")
	return c
}

func (a *app) mapImport() *cobra.Command {
	var entity string
	var dryRun bool
	c := &cobra.Command{
		Use: "import NAME FILE", Short: "Replace the mapping, or one entity of it, by a file", Args: cobra.ExactArgs(2),
		Example: examples("kedge map import crm crm.yaml --dry-run", "kedge map import crm crm.yaml --entity customers"),
		RunE: func(cmd *cobra.Command, args []string) error {
			src, err := os.ReadFile(args[1])
			if err != nil {
				return usage(err)
			}
			m, err := mapping.Parse(args[1], src)
			if err != nil {
				return usage(err)
			}
			d, err := a.draft(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if entity != "" {
				one, err := m.Only(entity)
				if err != nil {
					return usage(err)
				}
				if m, err = d.mapping.Merge(one); err != nil {
					return usage(err)
				}
			}
			if dryRun {
				findings := mapping.Check(m, d.ext, d.loc)
				showFindings(cmd.OutOrStdout(), args[0], findings)
				if len(mapping.Refusals(findings)) > 0 {
					return usage(ErrShown)
				}
				return nil
			}
			return d.save(cmd, m)
		},
	}
	c.Flags().StringVar(&entity, "entity", "", "take only this entity from the file")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "only show what a check finds")
	return c
}

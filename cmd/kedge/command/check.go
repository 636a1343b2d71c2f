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
	"github.com/kedge-sync/kedge/syncer"
)

func (a *app) checkCommand() *cobra.Command {
	var offline bool
	c := &cobra.Command{
		Use: "check", Short: "Check the config and all mappings against the live systems", Args: cobra.NoArgs,
		Long: `Reads the config, asks every connection that an integration uses for its
metadata and compares each mapping with both sides. All integrations are
looked at, whatever is wrong with one of them.

Exit codes: 0 all is well, 1 a system could not be asked, 2 something in a file
or a mapping is wrong, whether or not all systems could be asked.`,
		Example: examples("kedge check", "kedge check --offline"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.config()
			if err != nil {
				return err
			}
			if !offline {
				if _, err := a.open(cmd.Context()); err != nil {
					return err
				}
			}
			k := &checking{app: a, out: cmd.OutOrStdout(), errOut: cmd.ErrOrStderr(), bad: map[string]bool{}}
			k.connections(cmd.Context(), cfg)
			if offline {
				k.files(cfg)
				if cfg.Subscriptions != nil {
					if _, err := k.pushConfig(); err != nil {
						k.fail(err)
					}
				}
				return k.result()
			}
			if err := k.integrations(cmd.Context(), cfg); err != nil {
				return err
			}
			if err := k.jobs(cmd.Context(), cfg); err != nil {
				return err
			}
			if _, err := k.publisher(cmd.Context(), k.logger(), nil); err != nil {
				k.fail(err)
			}
			return k.result()
		},
	}
	c.Flags().BoolVar(&offline, "offline", false, "check the files only and ask no system")
	return c
}

// A checking is one look at everything that the config names.
type checking struct {
	*app
	out, errOut   io.Writer
	bad           map[string]bool // connections whose settings are wrong
	wrong, silent bool            // something in a file is wrong; a system could not be asked
}

// jobs checks whether there is what jobs run.
func (k *checking) jobs(ctx context.Context, cfg *config.Config) error {
	s, err := k.jobService(ctx)
	if err != nil {
		return err
	}
	if err := s.Check(ctx, cfg.Jobs); err != nil {
		k.fail(jobError(err))
	}
	return nil
}

// fail shows an error and goes on.
func (k *checking) fail(err error) {
	fmt.Fprintf(k.errOut, "kedge: %v\n", err)
	if ExitCode(err) == exitUsage {
		k.wrong = true
	} else {
		k.silent = true
	}
}

func (k *checking) result() error {
	switch {
	case k.wrong:
		return usage(ErrShown)
	case k.silent:
		return ErrShown
	}
	return nil
}

// connections checks the settings of all connections and asks no system.
// Those of kedge's own database need it to be open.
func (k *checking) connections(ctx context.Context, cfg *config.Config) {
	for _, name := range slices.Sorted(maps.Keys(cfg.Connections)) {
		if k.store == nil && k.isOwnDatabase(name) {
			continue
		}
		conn, err := k.connect(ctx, name, "")
		if err == nil {
			err = conn.Close()
		}
		if err != nil {
			k.bad[name] = true
			k.fail(err)
		}
	}
}

// files checks the mappings of the config by themselves.
func (k *checking) files(cfg *config.Config) {
	for _, in := range cfg.Integrations {
		src, err := os.ReadFile(in.Mapping)
		if err == nil {
			_, err = mapping.Parse(in.Mapping, src)
		} else {
			err = fmt.Errorf("integration %s: mapping: %w", in.Name, err)
		}
		if err != nil {
			k.fail(usage(err))
			continue
		}
		fmt.Fprintf(k.out, "ok %s (%s, not compared with the live systems)\n", in.Name, in.Mapping)
	}
	if len(cfg.Integrations) == 0 {
		fmt.Fprintln(k.out, "ok (no integrations)")
	}
}

// integrations compares all mappings with the live systems.
func (k *checking) integrations(ctx context.Context, cfg *config.Config) error {
	s, err := k.sync(ctx)
	if err != nil {
		return err
	}
	for _, in := range cfg.Integrations {
		if err := k.unread[in.Name]; err != nil {
			k.fail(err)
		}
	}
	all, err := s.Integrations(ctx)
	if err != nil {
		return err
	}
	for _, i := range all {
		if k.unread[i.Name] == nil {
			k.integration(ctx, s, i)
		}
	}
	if len(all) == 0 && len(k.unread) == 0 {
		fmt.Fprintln(k.out, "ok (no integrations)")
	}
	return nil
}

func (k *checking) integration(ctx context.Context, s *syncer.Syncer, i *syncer.Integration) {
	for _, name := range []string{i.External, i.Local} {
		if k.bad[name] {
			fmt.Fprintf(k.errOut, "kedge: integration %s: not checked, because the settings of connection %q are wrong\n", i.Name, name)
			return
		}
	}
	findings, err := s.Check(ctx, i)
	if err != nil {
		err = fmt.Errorf("integration %s: %w", i.Name, err)
		k.fail(err)
		return
	}
	k.wrong = showFindings(k.out, i.Name, findings) || k.wrong
}

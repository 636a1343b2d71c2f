package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/odatatest"
	"github.com/kedge-sync/kedge/syncer"
)

// The files that the demo writes beside its database.
const (
	demoConfigFile  = "kedge-demo.yaml"
	demoMappingFile = "kedge-demo-mapping.yaml"
)

const demoConfig = `# Written by "kedge demo". Try: kedge --config kedge-demo.yaml status
version: 1
store: {dsn: "sqlite:kedge.db"}
connections:
  sample: # the service that "kedge demo odata" serves
    kind: odata
    url: %s
integrations:
  - {name: demo, external: sample, mapping: kedge-demo-mapping.yaml}
jobs: # run by "kedge serve"; see "kedge jobs"
  - {name: demo, integration: demo, every: 10s}
`

const demoMapping = `kedge: mapping/v1
entities:
  - name: customers
    external: customers
    local: customer
    direction: bidirectional
    key: [{external: "No", local: "no", primary: true}]
    conflict: {policy: manual}
    fields:
      - {external: Name, local: name}
      - {external: Email, local: email, compare: nocase}
      - {external: Address/City, local: city}
      - {external: Balance, local: balance}
      - {external: Blocked, local: blocked}
      - {external: PrimaryContactNo, local: primary_contact, lookup: {entity: contacts}}
  - name: contacts
    external: contacts
    local: contact
    key: [{external: "No", local: "no", primary: true}]
    fields:
      - {external: Name, local: name}
      - {external: Email, local: email}
      - {external: CustomerNo, local: customer, lookup: {entity: customers}}
`

func (a *app) demoCommand() *cobra.Command {
	var rows int
	var serve bool
	var listen string
	c := &cobra.Command{
		Use: "demo", Short: "Show a full, an incremental and a two-way sync with a sample system, in a minute", Args: cobra.NoArgs,
		Long: `Starts a sample OData service in this process, reads all of it into kedge.db,
changes a few records there, and reads just those. Then both sides are edited:
the edits are merged, and a conflict is resolved. It writes kedge.db,
kedge-demo.yaml and kedge-demo-mapping.yaml into the current directory and
leaves them for you to look at.`,
		Example: examples("kedge demo", "kedge demo --serve", "kedge demo odata --listen 127.0.0.1:4004 --rows 100000"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if listen != "" && !serve {
				return usagef("--listen goes with --serve")
			}
			return a.runDemo(cmd, rows, func() error {
				if !serve {
					return nil
				}
				return a.serveDemo(cmd, listen)
			})
		},
	}
	c.Flags().IntVar(&rows, "rows", 5000, "customers of the sample service")
	c.Flags().BoolVar(&serve, "serve", false, "then go on with a server that syncs every 10s, until Ctrl-C")
	c.Flags().StringVar(&listen, "listen", "", "HOST:PORT of that server (default 127.0.0.1:8080)")
	c.AddCommand(a.demoODataCommand())
	return c
}

func (a *app) demoODataCommand() *cobra.Command {
	var o odatatest.Options
	var listen, flavor string
	c := &cobra.Command{
		Use: "odata", Short: "Serve the sample OData service until Ctrl-C", Args: cobra.NoArgs,
		Long:    "Serves customers and contacts by OData v4, with delta links and $batch, for reading and writing, and can misbehave like real services do.\n\nQuirks:\n" + nameList(odatatest.Quirks()) + "\nFaults:\n" + nameList(odatatest.FaultNames()),
		Example: examples("kedge demo odata", "kedge demo odata --rows 100000 --quirk offset-tokens --fault 500=0.1"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Flavor = odatatest.Flavor(flavor)
			if o.Auth.Kind == "" && o.Auth.Username != "" {
				o.Auth.Kind = "basic"
			}
			if err := o.Check(); err != nil {
				return usage(err)
			}
			service := odatatest.New(o)
			return serveUntilDone(cmd.Context(), listen, service.Handler(), func(addr string) {
				fmt.Fprintf(cmd.OutOrStdout(), "serving http://%s%s with %d customers; Ctrl-C ends it\n", addr, service.Root(), o.Rows)
			})
		},
	}
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:4004", "address")
	c.Flags().IntVar(&o.Rows, "rows", 5000, "customers")
	c.Flags().Uint64Var(&o.Seed, "seed", 0, "seed of the data and of the faults")
	c.Flags().StringArrayVar(&o.Quirks, "quirk", nil, "misbehave in this way; may be repeated")
	c.Flags().StringArrayVar(&o.Faults, "fault", nil, "fail in this way, NAME=VALUE; may be repeated")
	c.Flags().StringVar(&flavor, "flavor", "generic", "generic, businesscentral or dataverse")
	c.Flags().StringVar(&o.Version, "odata-version", odatatest.V40, "highest protocol version: 4.0 or 4.01")
	c.Flags().StringVar(&o.Batch, "batch", "", "format of $batch: multipart, json or none (default both)")
	c.Flags().BoolVar(&o.NoUpsert, "no-upsert", false, "a PATCH of what does not exist is 404")
	c.Flags().BoolVar(&o.NeedIfMatch, "need-if-match", false, "a PATCH or DELETE without If-Match is 428")
	c.Flags().BoolVar(&o.Referential, "referential", false, "a lookup that leads nowhere is 400")
	c.Flags().BoolVar(&o.Repeatable, "repeatable", false, "support Repeatable Requests")
	c.Flags().StringVar(&o.Auth.Kind, "auth", "", "sign-in that is asked for: basic, bearer, api_key or oauth2 (/oauth/token, /oauth/devicecode)")
	c.Flags().StringVar(&o.Auth.Username, "user", "", "user of basic")
	c.Flags().StringVar(&o.Auth.Password, "password", "", "password of basic")
	c.Flags().StringVar(&o.Auth.Token, "token", "", "token of bearer")
	c.Flags().StringVar(&o.Auth.Value, "api-key", "", "value of api_key, in the header X-API-Key")
	c.Flags().StringVar(&o.Auth.ClientID, "client-id", "", "client of oauth2")
	c.Flags().StringVar(&o.Auth.ClientSecret, "client-secret", "", "its secret")
	c.Flags().IntVar(&o.Auth.Polls, "polls", 1, "polls after which a device code counts as approved; 0: only POST /_test/approve?code=… approves it")
	c.Flags().DurationVar(&o.Auth.Interval, "device-interval", 5*time.Second, "time between polls of a device code")
	c.Flags().DurationVar(&o.Auth.DeviceLife, "device-life", 15*time.Minute, "time after which a device code expires")
	return c
}

func nameList(names []odatatest.Name) string {
	var b strings.Builder
	for _, n := range names {
		fmt.Fprintf(&b, "  %-22s %s\n", n.Name, n.Title)
	}
	return b.String()
}

// serveUntilDone serves h until ctx ends.
func serveUntilDone(ctx context.Context, listen string, h http.Handler, ready func(addr string)) error {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	stopped := context.AfterFunc(ctx, func() { _ = srv.Close() }) // what is left of open answers is of no use
	defer stopped()
	ready(l.Addr().String())
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// runDemo shows the demo and then calls next, while the sample service runs.
func (a *app) runDemo(cmd *cobra.Command, rows int, next func() error) error {
	if err := demoMayWrite(); err != nil {
		return err
	}
	ctx, out := cmd.Context(), cmd.OutOrStdout()
	service := odatatest.New(odatatest.Options{Rows: rows})
	served, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	addr := make(chan string, 1)
	go func() {
		ready := func(a string) { addr <- a }
		err := serveUntilDone(served, "127.0.0.1:4004", service.Handler(), ready)
		if err != nil && len(addr) == 0 { // somebody else has the port
			err = serveUntilDone(served, "127.0.0.1:0", service.Handler(), ready)
		}
		done <- err
	}()
	defer func() { stop(); <-done }()
	var url string
	select {
	case at := <-addr:
		url = "http://" + at + "/"
	case err := <-done:
		done <- err
		return err
	}
	if err := os.WriteFile(demoConfigFile, fmt.Appendf(nil, demoConfig, url), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(demoMappingFile, []byte(demoMapping), 0o644); err != nil {
		return err
	}
	fmt.Fprintf(out, "A sample OData service runs at %s with %d customers and their contacts.\n", url, rows)
	if err := a.demoSteps(cmd, service); err != nil {
		return err
	}
	return next()
}

// serveDemo runs a server on what the demo made.
func (a *app) serveDemo(cmd *cobra.Command, listen string) error {
	a.close()
	server := &app{configPath: demoConfigFile, output: a.output, serving: true, patient: true}
	defer server.close()
	fmt.Fprint(cmd.OutOrStdout(), demoServes)
	return server.serve(cmd, listen)
}

const demoServes = `
kedge --config kedge-demo.yaml serve: runs until Ctrl-C, and its job "demo" syncs every 10 s. The API for operators is below
/api/v1 of this address, for example /api/v1/jobs:
`

// demoMayWrite refuses to touch a database that the demo did not make.
func demoMayWrite() error {
	_, db := os.Stat("kedge.db")
	_, config := os.Stat(demoConfigFile)
	if db == nil && config != nil {
		return usagef("there is a kedge.db here that the demo did not make; run the demo in another directory")
	}
	return nil
}

func (a *app) demoSteps(cmd *cobra.Command, service *odatatest.Service) error {
	ctx, out := cmd.Context(), cmd.OutOrStdout()
	a.configPath = demoConfigFile
	a.progress = newProgress(os.Stderr)
	s, err := a.sync(ctx)
	if err != nil {
		return err
	}
	_, in, err := a.integration(ctx, "demo")
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\n1. kedge map tables demo: makes the tables that the mapping needs, in kedge.db\n")
	if err := a.demoTables(cmd, s, in); err != nil {
		return err
	}
	fmt.Fprintf(out, "\n2. kedge sync demo: the first run reads everything\n")
	if err := demoRun(ctx, out, s, service); err != nil {
		return err
	}
	fmt.Fprintf(out, "\n3. somebody edits the service: 3 customers change, 1 is new, 1 is deleted, 1 gets a balance that is no number\n")
	if err := demoEdits(service); err != nil {
		return err
	}
	fmt.Fprintf(out, "\n4. kedge sync demo: the next run reads only what changed; the bad record waits in quarantine and harms nobody\n")
	if err := demoRun(ctx, out, s, service); err != nil {
		return err
	}
	if err := a.demoTwoWay(ctx, out, s, service); err != nil {
		return err
	}
	_, err = fmt.Fprint(out, demoNext)
	return err
}

const demoNext = `
What to try next:
  kedge --config kedge-demo.yaml status            every integration on one screen
  kedge --config kedge-demo.yaml log               what the runs did
  kedge --config kedge-demo.yaml quarantine list   why one record could not be stored
  kedge --config kedge-demo.yaml transactions list what was sent, and how it ended
  kedge demo odata                                 serve the sample in another terminal, then:
  kedge --config kedge-demo.yaml sync demo         kill it at any moment; the next run goes on
  kedge init                                       a config for your own system
`

func (a *app) demoTables(cmd *cobra.Command, s *syncer.Syncer, in *syncer.Integration) error {
	d, err := a.draft(cmd.Context(), in.Name)
	if err != nil {
		return err
	}
	conn, err := a.connect(cmd.Context(), in.Local, in.Name)
	if err != nil {
		return err
	}
	defer conn.Close()
	return makeTables(cmd, conn, tablesOf(d), true)
}

// demoRun runs the demo's integration and tells what it took.
func demoRun(ctx context.Context, out io.Writer, s *syncer.Syncer, service *odatatest.Service) error {
	service.ForgetRequests()
	res, err := s.Run(ctx, syncer.Request{Integration: "demo", Trigger: "demo"})
	if err != nil {
		return err
	}
	c := res.Counts(syncer.Download)
	for _, e := range res.Entities {
		if e.Direction == syncer.Upload {
			if e.Error != "" {
				return fmt.Errorf("%s: %s", e.Entity, e.Error)
			}
			if e.Created+e.Changed+e.Conflicts > 0 {
				fmt.Fprintf(out, "   %-10s upload: %d created, %d changed, %d in conflict\n", e.Entity, e.Created, e.Changed, e.Conflicts)
			}
			continue
		}
		fmt.Fprintf(out, "   %-10s %s: %d read, %d created, %d changed, %d unchanged, %d deleted, %d in quarantine\n", e.Entity, e.Mode,
			e.Read, e.Created, e.Changed, e.Unchanged, e.Deleted, e.Quarantined)
		if e.Error != "" {
			return fmt.Errorf("%s: %s", e.Entity, e.Error)
		}
	}
	_, err = fmt.Fprintf(out, "   %s\n   %d requests, %v\n", c.Line(), len(service.Requests()), res.Took.Round(time.Millisecond))
	return err
}

func demoEdits(service *odatatest.Service) error {
	records := service.Records("customers")
	if len(records) < 10 {
		return nil
	}
	key := func(i int) kedge.Value { return records[i].Get("No") }
	patches := []kedge.Record{
		odatatest.Row("No", key(0), "Address/City", kedge.String("Bergen")),
		odatatest.Row("No", key(1), "Blocked", kedge.Bool(true)),
		odatatest.Row("No", key(2), "Balance", kedge.Decimal("19.90")),
		odatatest.Row("No", key(3), "Balance", kedge.JSON(`"much"`)),
	}
	if err := service.Patch("customers", patches...); err != nil {
		return err
	}
	added := odatatest.Row("No", kedge.String("D00001"), "Name", kedge.String("New from the demo"), "Address/City", kedge.String("Oslo"), "Balance", kedge.Decimal("0.00"))
	if err := service.Put("customers", added); err != nil {
		return err
	}
	return service.Delete("customers", records[5].Key)
}

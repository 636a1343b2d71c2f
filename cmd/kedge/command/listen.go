package command

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kedge-sync/kedge/cmd/kedge/listen"
	"github.com/kedge-sync/kedge/internal/httpclient"
	"github.com/kedge-sync/kedge/internal/signature"
)

// listenFlags are those of "kedge listen".
type listenFlags struct {
	apiClient
	addr, secret, secretEnv string
	resource, account       string
	events                  []string
	forward                 string
	respond, first, count   int
}

func (a *app) listenCommand() *cobra.Command {
	var f listenFlags
	c := &cobra.Command{
		Use: "listen", Short: "Receive pushes here: print, verify and forward them", Args: cobra.NoArgs,
		Long: `Prints a line for each push: time, type, resource, sequence, attempt and
verified, BAD SIGNATURE or TOO OLD, and flags duplicates, gaps and pushes that
came out of order. With --subscribe it makes a subscription at the server for as
long as it runs, as $KEDGE_TOKEN allows; else subscribe its address yourself and
give the secret. Handshakes are answered.

Ends with 1 if any push was not verified or came out of order. Without a secret
nothing can be verified, and that is no failure.`,
		Example: examples("kedge listen --secret-env HOOK_SECRET", "kedge listen --subscribe projects/proj1 --events tasks.create --count 3 --json",
			"kedge listen --subscribe tasks --events create,update --forward http://127.0.0.1:3000/hook", "kedge listen --secret-env HOOK_SECRET --respond 503 --first 3"),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.listen(cmd, &f) },
	}
	f.flags(c)
	c.Flags().StringVar(&f.addr, "addr", "127.0.0.1:8787", "HOST:PORT to listen on")
	c.Flags().StringVar(&f.secret, "secret", "", "whsec_… or whpk_… to verify with")
	c.Flags().StringVar(&f.secretEnv, "secret-env", "", "environment variable that holds the secret")
	c.Flags().StringVar(&f.resource, "subscribe", "", "resource to subscribe to: entity, or entity/key of one record")
	c.Flags().StringSliceVar(&f.events, "events", nil, "events to subscribe to, such as tasks.create,update")
	c.Flags().StringVar(&f.account, "account", "", "account of the subscription; for operators")
	c.Flags().StringVar(&f.forward, "forward", "", "URL that pushes go on to; its status is answered")
	c.Flags().IntVar(&f.respond, "respond", 0, "status to answer with, such as 503; default: 204")
	c.Flags().IntVar(&f.first, "first", 0, "answer so only to this many pushes")
	c.Flags().IntVar(&f.count, "count", 0, "end after this many pushes; default: run until it is stopped")
	return c
}

func (f *listenFlags) check() error {
	switch {
	case f.secretEnv != "" && f.secret != "":
		return usagef("give --secret or --secret-env, not both")
	case f.resource != "" && (f.secret != "" || f.secretEnv != ""):
		return usagef("--subscribe brings its own secret; leave --secret out")
	case f.resource != "" && len(f.events) == 0:
		return usagef("--subscribe needs --events, such as create,update")
	case f.resource == "" && f.events != nil:
		return usagef("--events goes with --subscribe")
	case f.respond != 0 && (f.respond < 200 || f.respond > 599):
		return usagef("--respond: give a status from 200 to 599")
	case f.first != 0 && f.respond == 0:
		return usagef("--first goes with --respond")
	case f.first < 0 || f.count < 0:
		return usagef("--first and --count: give a number that is not negative")
	}
	return nil
}

// options returns what the receiver does.
func (f *listenFlags) options() (listen.Options, error) {
	o := listen.Options{Respond: f.respond, First: f.first}
	secret := f.secret
	if f.secretEnv != "" {
		if secret = os.Getenv(f.secretEnv); secret == "" {
			return o, usagef("the environment variable %s is not set", f.secretEnv)
		}
	}
	if secret != "" {
		key, err := signature.ParseKey(secret)
		if err != nil {
			return o, usagef("--secret: %v", err)
		}
		o.Keys = []signature.Key{key}
	}
	if f.forward != "" {
		u, err := url.Parse(f.forward)
		if err != nil || u.Host == "" {
			return o, usagef("--forward: not a URL; write http://127.0.0.1:3000/hook")
		}
		o.Forward = u
		if o.Client, err = httpclient.New(httpclient.Options{Name: "forward", Origin: u, Timeout: 15 * time.Second}); err != nil {
			return o, err
		}
	}
	return o, nil
}

func (a *app) listen(cmd *cobra.Command, f *listenFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	o, err := f.options()
	if err != nil {
		return err
	}
	if f.resource != "" {
		if err := a.openRemote(&f.apiClient); err != nil {
			return err
		}
		defer f.client.Close()
		o.Path = "/" + strings.ToLower(rand.Text())
		key, err := signature.NewKey(signature.HMAC)
		if err != nil {
			return err
		}
		o.Keys, f.secret = []signature.Key{key}, key.Secret()
	}
	ctx, enough := context.WithCancel(cmd.Context())
	defer enough()
	left := f.count
	var printed error
	o.Tell = func(p listen.Push) {
		if printed == nil {
			printed = a.tellPush(cmd.OutOrStdout(), p)
		}
		if p.Type == "kedge.verify" {
			return
		}
		if left--; left == 0 || printed != nil {
			enough()
		}
	}
	receiver := listen.New(o)
	listener, err := net.Listen("tcp", f.addr)
	if err != nil {
		return usagef("--addr: %v; choose another address, or stop what listens there", err)
	}
	srv := &http.Server{Handler: receiver, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(listener) }()
	address := "http://" + listener.Addr().String() + o.Path
	err = a.listening(ctx, cmd, f, address)
	// A push that is being answered ends first; connections that nobody uses
	// are not waited for.
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if srv.Shutdown(grace) != nil {
		_ = srv.Close()
	}
	if e := <-served; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	if err == nil {
		err = printed
	}
	if err == nil && receiver.Bad() {
		err = &exitError{exitFailed, ErrShown}
	}
	return err
}

// listening waits until it is enough, with a subscription if one is wanted.
func (a *app) listening(ctx context.Context, cmd *cobra.Command, f *listenFlags, address string) error {
	id := ""
	if f.resource != "" {
		var sub struct{ ID string }
		body := map[string]any{"url": address, "resource": f.resource, "events": f.events, "description": "kedge listen", "signing": map[string]string{"secret": f.secret}}
		if f.account != "" {
			body["account"] = f.account
		}
		if err := f.call(ctx, http.MethodPost, "subscriptions", nil, body, &sub); err != nil {
			return err
		}
		id = sub.ID
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "kedge: listening on %s; Ctrl-C ends it\n", address)
	<-ctx.Done()
	if id == "" {
		return nil
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	if err := f.call(grace, http.MethodDelete, subPath(id), nil, nil, nil); err != nil {
		return fmt.Errorf("the subscription %s was not deleted; delete it yourself: %w", id, err)
	}
	return nil
}

// tellPush prints a push: as a line of JSON, or of text.
func (a *app) tellPush(w io.Writer, p listen.Push) error {
	if a.output == "json" {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		return enc.Encode(p)
	}
	if a.output == "yaml" {
		return a.print(w, []listen.Push{p}, nil)
	}
	line := fmt.Sprintf("%s  %-20s  %-30s  %8d  attempt %d  %s", p.At.Local().Format("15:04:05.000"), p.Type, p.Resource, p.Sequence, p.Attempt, p.Verdict)
	if p.Replay {
		line += "  replay"
	}
	for _, n := range p.Notes {
		line += "  " + n
	}
	if p.Status >= 300 {
		line += fmt.Sprintf("  answered %d", p.Status)
	}
	_, err := fmt.Fprintln(w, line)
	return err
}

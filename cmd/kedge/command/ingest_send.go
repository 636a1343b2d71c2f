package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/kedge-sync/kedge/ingest/custom"
	"github.com/kedge-sync/kedge/internal/httpapi"
	"github.com/kedge-sync/kedge/internal/httpclient"
	"github.com/kedge-sync/kedge/internal/jsonguard"
)

// A sender sends to a server of kedge, as another program would.
type sender struct {
	server, keyEnv         string
	groupKey, event, actor string
	dryRun                 bool

	client *httpclient.Client
	base   *url.URL
	key    string
}

func (s *sender) flags(c *cobra.Command) {
	c.Flags().StringVar(&s.server, "server", "", "URL of the server; default: that of the config")
	c.Flags().StringVar(&s.keyEnv, "key-env", "KEDGE_INGEST_KEY", "environment variable that holds the ingest key")
	c.Flags().StringVar(&s.groupKey, "group-key", "", "keeps resources with equal ids apart")
	c.Flags().StringVar(&s.event, "event", "", "name of the event, shown in the history")
	c.Flags().StringVar(&s.actor, "actor", "", `who did it, a JSON value: '"me"' or '{"name": "me"}'`)
	c.Flags().BoolVar(&s.dryRun, "dry-run", false, "do all but store it")
}

// open makes the client. The config is needed only for the address.
func (a *app) openSender(s *sender) error {
	if s.server == "" {
		cfg, err := a.config()
		if err != nil {
			return err
		}
		s.server = serverURL(cfg.Server.PublicURL, cfg.Server.Listen)
	}
	base, err := url.Parse(s.server)
	if err != nil || base.Host == "" {
		return usagef("--server: not a URL; write http://127.0.0.1:8080")
	}
	if s.key = os.Getenv(s.keyEnv); s.key == "" {
		return usagef("the environment variable %s is not set; it must hold the ingest key", s.keyEnv)
	}
	if base.Path == "" {
		base.Path = "/"
	}
	s.base = base.JoinPath("integration", "custom-data")
	s.client, err = httpclient.New(httpclient.Options{Name: "ingest", Origin: base, FailFast: true, UserAgent: "kedge/" + Version})
	return err
}

// serverURL is the address by which a server is reached.
func serverURL(public, listen string) string {
	if public != "" {
		return public
	}
	if listen == "" {
		listen = "127.0.0.1:8080"
	}
	return "http://" + strings.Replace(listen, "0.0.0.0:", "127.0.0.1:", 1)
}

// call makes a request and returns the answer. All of them may be repeated.
func (s *sender) call(ctx context.Context, method, path string, q url.Values, body []byte) ([]byte, error) {
	u := s.base.JoinPath(path)
	u.RawQuery = q.Encode()
	var answer []byte
	err := s.client.Do(ctx, httpclient.Request{
		Op: "ingest", Method: method, URL: u, Body: body, Effect: httpclient.Idempotent, Classify: refusedByServer,
		Header: http.Header{"X-Ingest-Key": {s.key}, "Content-Type": {"application/json"}, "Idempotency-Key": {uuid.NewString()}},
	}, func(r *httpclient.Response) error {
		answer = []byte(r.Body)
		return nil
	})
	return answer, err
}

// refusedByServer makes what the server says of a request an error of the
// user's.
func refusedByServer(r *httpclient.Response) error {
	text, ok := refusal(r)
	if !ok {
		return nil
	}
	code := exitFailed
	if r.Status == http.StatusConflict {
		code = exitPerson
	}
	return &exitError{code, errors.New(text)}
}

// refusal returns what the server says is wrong with a request, unless it is
// not the request that is wrong.
func refusal(r *httpclient.Response) (string, bool) {
	var p struct {
		Detail string               `json:"detail"`
		Errors []httpapi.FieldError `json:"errors"`
	}
	if r.Status >= 500 || r.Status == http.StatusTooManyRequests || json.Unmarshal([]byte(r.Body), &p) != nil || p.Detail == "" {
		return "", false
	}
	lines := []string{fmt.Sprintf("refused with %d: %s", r.Status, p.Detail)}
	for _, e := range p.Errors {
		lines = append(lines, "  "+strings.TrimSpace(e.Pointer+" "+e.Detail))
	}
	return strings.Join(lines, "\n"), true
}

func (s *sender) params() url.Values {
	q := url.Values{}
	for name, v := range map[string]string{"groupKey": s.groupKey, "event": s.event, "actor": s.actor} {
		if v != "" {
			q.Set(name, v)
		}
	}
	if s.dryRun {
		q.Set("dryRun", "true")
	}
	return q
}

func (a *app) ingestSend() *cobra.Command {
	var s sender
	var bulk, allowEmpty bool
	confirmRemoved := -1
	c := &cobra.Command{
		Use: "send TABLE FILE|-", Short: "Send a resource, or with --bulk the full list, to a server", Args: cobra.ExactArgs(2),
		Long:    "Sends what a program would send by HTTP, with the ingest key of $KEDGE_INGEST_KEY. A list of more than 4 MB is sent in parts and takes effect as a whole.",
		Example: examples("kedge ingest send hr_employee employee.json", "kedge ingest send hr_employee employees.json --bulk --event nightly --dry-run"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.openSender(&s); err != nil {
				return err
			}
			defer s.client.Close()
			body, err := readArg(cmd, args[1])
			if err != nil {
				return err
			}
			body = bytes.TrimSpace(body)
			q, path := s.params(), "event/"+args[0]
			if bulk {
				path = "bulk-event/" + args[0]
				if allowEmpty {
					q.Set("allowEmpty", "true")
				}
				if confirmRemoved >= 0 {
					q.Set("confirmRemoved", strconv.Itoa(confirmRemoved))
				}
			}
			var answer []byte
			if bulk && len(body) > custom.MaxBulk {
				answer, err = s.session(cmd.Context(), args[0], q, body)
			} else {
				answer, err = s.call(cmd.Context(), http.MethodPost, path, q, body)
			}
			if err != nil {
				return err
			}
			return a.showAnswer(cmd, answer)
		},
	}
	s.flags(c)
	c.Flags().BoolVar(&bulk, "bulk", false, "the file is the full list; what is missing in it is removed")
	c.Flags().BoolVar(&allowEmpty, "allow-empty", false, "with --bulk: an empty list removes all")
	c.Flags().IntVar(&confirmRemoved, "confirm-removed", -1, "with --bulk: how many resources are removed")
	return c
}

// session sends a list in parts.
func (s *sender) session(ctx context.Context, table string, q url.Values, body []byte) ([]byte, error) {
	parts, err := split(body)
	if err != nil {
		return nil, err
	}
	path := "bulk-session/" + table
	answer, err := s.call(ctx, http.MethodPost, path, q, nil)
	if err != nil {
		return nil, err
	}
	var started struct {
		Session string `json:"session"`
	}
	if err := json.Unmarshal(answer, &started); err != nil || started.Session == "" {
		return nil, errors.New("the server's answer names no session")
	}
	path += "/" + started.Session
	for i, part := range parts {
		if _, err := s.call(ctx, http.MethodPut, path+"/"+strconv.Itoa(i+1), nil, part); err != nil {
			return nil, fmt.Errorf("part %d of %d: %w", i+1, len(parts), err)
		}
	}
	return s.call(ctx, http.MethodPost, path+"/commit", url.Values{"parts": {strconv.Itoa(len(parts))}}, nil)
}

// split cuts an array into arrays that fit into one request each.
func split(body []byte) ([][]byte, error) {
	var parts [][]byte
	part := []byte{'['}
	for raw, err := range jsonguard.Elements(body) {
		if err != nil {
			return nil, usage(err)
		}
		if len(part)+len(raw)+2 > custom.MaxBulk && len(part) > 1 {
			parts, part = append(parts, append(part, ']')), []byte{'['}
		}
		if len(part) > 1 {
			part = append(part, ',')
		}
		part = append(part, raw...)
	}
	if parts = append(parts, append(part, ']')); len(parts) > custom.MaxParts {
		return nil, usagef("the list needs %d parts of 4 MB, more than the %d that a session takes", len(parts), custom.MaxParts)
	}
	return parts, nil
}

func (a *app) ingestDelete() *cobra.Command {
	var s sender
	c := &cobra.Command{
		Use: "delete TABLE ID...", Short: "Remove resources by their ids, by a server", Args: cobra.MinimumNArgs(2), Example: examples("kedge ingest delete hr_employee e1 e2 --event left"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.openSender(&s); err != nil {
				return err
			}
			defer s.client.Close()
			ids, err := json.Marshal(args[1:])
			if err != nil {
				return err
			}
			q := s.params()
			q.Set("resourceIds", string(ids))
			answer, err := s.call(cmd.Context(), http.MethodDelete, "bulk-event/"+args[0], q, nil)
			if err != nil {
				return err
			}
			return a.showAnswer(cmd, answer)
		},
	}
	s.flags(c)
	return c
}

// showAnswer shows what the server answered, by default in one line.
func (a *app) showAnswer(cmd *cobra.Command, answer []byte) error {
	return a.print(cmd.OutOrStdout(), json.RawMessage(answer), func(w io.Writer) {
		var v struct {
			Table  string `json:"table"`
			Seq    int64  `json:"seq"`
			DryRun bool   `json:"dryRun"`
			ID     string `json:"id"`
			Result string `json:"result"`
		}
		counts := map[string]any{}
		if json.Unmarshal(answer, &v) != nil || json.Unmarshal(answer, &counts) != nil {
			fmt.Fprintln(w, string(answer))
			return
		}
		line := v.Table + ": "
		if v.Result != "" {
			line += v.Result
		}
		var texts []string
		for _, name := range []string{"received", "created", "updated", "unchanged", "stale", "suppressed", "removed", "ignored", "quarantined"} {
			if n, ok := counts[name]; ok {
				texts = append(texts, fmt.Sprintf("%s %v", name, n))
			}
		}
		line += strings.Join(texts, ", ") + "; seq " + strconv.FormatInt(v.Seq, 10)
		if v.DryRun {
			line += "; dry run, nothing was stored"
		}
		fmt.Fprintln(w, line)
	})
}

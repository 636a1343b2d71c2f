package command

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/kedge-sync/kedge/internal/httpclient"
)

// An apiClient is a server of kedge whose API commands call: as a subscriber, with
// an access token, or as an operator.
type apiClient struct {
	server string // flag

	client *httpclient.Client
	base   *url.URL // with /api/v1 for operators
	admin  bool
}

func (r *apiClient) flags(c *cobra.Command) {
	c.Flags().StringVar(&r.server, "server", "", "URL of the server; also by $KEDGE_SERVER; default: that of the config")
}

// named reports whether a server is named, by flag or environment.
func (r *apiClient) named() bool {
	if r.server == "" {
		r.server = os.Getenv("KEDGE_SERVER")
	}
	return r.server != ""
}

// openRemote makes the client. An access token in $KEDGE_TOKEN makes the caller a
// subscriber, an operator's token or none an operator.
func (a *app) openRemote(r *apiClient) error {
	if !r.named() {
		cfg, err := a.config()
		if err != nil {
			return usagef("--server is missing, and there is no config to take it from: %v", err)
		}
		r.server = serverURL(cfg.Server.PublicURL, cfg.Server.Listen)
	}
	base, err := url.Parse(r.server)
	if err != nil || base.Host == "" {
		return usagef("--server: not a URL; write http://127.0.0.1:8080")
	}
	token := os.Getenv("KEDGE_TOKEN")
	r.admin = !strings.HasPrefix(token, "kps_")
	o := httpclient.Options{Name: "server", Origin: base, FailFast: true, SingleTry: true, UserAgent: "kedge/" + Version}
	if token != "" {
		o.Auth = httpclient.Bearer(httpclient.Secret(token))
	}
	if base.Path == "" {
		base.Path = "/"
	}
	if r.base = base; r.admin {
		r.base = base.JoinPath("api", "v1")
	}
	r.client, err = httpclient.New(o)
	return err
}

// call makes a request and reads the answer into out, unless that is nil.
// path is escaped already.
func (r *apiClient) call(ctx context.Context, method, path string, q url.Values, body, out any) error {
	u := r.base.JoinPath(path)
	u.RawQuery = q.Encode()
	req := httpclient.Request{Op: "server", Method: method, URL: u, Effect: httpclient.Once, Header: http.Header{"Accept": {"application/json"}}, Classify: refusedRemotely}
	switch method {
	case http.MethodGet:
		req.Effect = httpclient.Read
	case http.MethodDelete, http.MethodPatch:
		req.Effect = httpclient.Idempotent
	default:
		req.Header["Idempotency-Key"] = []string{uuid.NewString()}
	}
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		req.Body, req.Header["Content-Type"] = text, []string{"application/json"}
	}
	return r.client.Do(ctx, req, func(resp *httpclient.Response) error {
		if out == nil {
			return nil
		}
		return json.Unmarshal([]byte(resp.Body), out)
	})
}

// refusedRemotely makes what the server says of a request the command's error.
func refusedRemotely(r *httpclient.Response) error {
	if text, ok := refusal(r); ok {
		return &exitError{exitFailed, errors.New(text)}
	}
	return nil
}

// list reads a list, page by page, up to limit items.
func (r *apiClient) list(ctx context.Context, path string, q url.Values, limit int) ([]json.RawMessage, error) {
	all := []json.RawMessage{}
	size, cursor := "pageSize", "pageToken"
	if r.admin {
		size, cursor = "limit", "cursor"
	}
	if q == nil {
		q = url.Values{}
	}
	for len(all) < limit {
		var page struct {
			Value, Items []json.RawMessage
			Next         string
			NextPage     string `json:"nextPageToken"`
		}
		q.Set(size, strconv.Itoa(min(limit-len(all), 200)))
		if err := r.call(ctx, http.MethodGet, path, q, nil, &page); err != nil {
			return nil, err
		}
		all = append(append(all, page.Value...), page.Items...)
		next := page.Next + page.NextPage
		if next == "" {
			break
		}
		q.Set(cursor, next)
	}
	return all, nil
}

// decode reads the items of a list.
func decode[T any](items []json.RawMessage) ([]T, error) {
	out := make([]T, len(items))
	for i, item := range items {
		if err := json.Unmarshal(item, &out[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

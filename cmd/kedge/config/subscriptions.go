package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Subscriptions says what outside systems may subscribe to, and where pushes
// may go. Zero values mean the defaults of package subscriptions.
type Subscriptions struct {
	Entities  map[string]PushEntity `yaml:"entities" json:"entities" about:"What can be subscribed: tables of the connection local, tables of pushed data by their full name, or names that workflows use. Nothing else can."`
	Limits    PushLimits            `yaml:"limits" json:"limits,omitzero" about:"What subscriptions may cost."`
	Retry     PushRetry             `yaml:"retry" json:"retry,omitzero" about:"When a failed push is tried again."`
	Retention PushRetention         `yaml:"retention" json:"retention,omitzero" about:"How long what is over is kept."`
	Targets   PushTargets           `yaml:"targets" json:"targets,omitzero" about:"Where pushes may go, besides egress."`
	Notices   PushNotices           `yaml:"notices" json:"notices,omitzero" about:"Who is told when a subscription is disabled or expires."`
	Items     []PushItem            `yaml:"items" json:"items,omitempty" about:"Declared subscriptions: name, account, user, and what POST /subscriptions takes. One that is gone from the file is disabled."`
}

// A PushEntity is what is offered of an entity.
type PushEntity struct {
	Title      string            `yaml:"title" json:"title,omitempty" about:"Field that names a record to people."`
	Search     []string          `yaml:"search" json:"search,omitempty" about:"Fields that GET /resources searches."`
	Fields     []string          `yaml:"fields" json:"fields,omitempty" about:"Fields that may be pushed. Default: all of the table."`
	Parents    map[string]string `yaml:"parents" json:"parents,omitempty" about:"Lookup field: entity of the parent."`
	Account    string            `yaml:"account" json:"account,omitempty" about:"Field that holds the account whose tokens may see the record. Default: all see all."`
	Operations []string          `yaml:"operations" json:"operations,omitempty" about:"create, update, delete. Default: all."`
}

// PushLimits bound what subscriptions cost.
type PushLimits struct {
	PerAccount   int      `yaml:"perAccount" json:"perAccount,omitempty" about:"Subscriptions of an account. Default 100."`
	Payload      Size     `yaml:"payload" json:"payload,omitempty" about:"Most bytes of a body; a record above is left out. Default 256KiB."`
	Backlog      int      `yaml:"backlog" json:"backlog,omitempty" about:"Waiting deliveries of a subscription. Default 50000."`
	Concurrency  int      `yaml:"concurrency" json:"concurrency,omitempty" about:"Requests at once to a subscription. Default 64."`
	InFlight     int      `yaml:"inFlight" json:"inFlight,omitempty" about:"Requests at once of a process. Default 1024."`
	Timeout      Duration `yaml:"timeout" json:"timeout,omitzero" about:"Until the target answers. Default 15s."`
	MaxAge       Duration `yaml:"maxAge" json:"maxAge,omitzero" about:"A delivery that is older is given up. Default 96h."`
	DisableAfter Duration `yaml:"disableAfter" json:"disableAfter,omitzero" about:"Time without a success after which a subscription is disabled. Default 120h."`
}

// PushRetry says when a failed push is tried again.
type PushRetry struct {
	Schedule []Duration `yaml:"schedule" json:"schedule,omitempty" about:"Waits after the first failure, the second and so on. Default 5s 5m 30m 2h 5h 10h 14h 20h 24h."`
	Jitter   *float64   `yaml:"jitter" json:"jitter,omitempty" about:"Part of a wait by which it varies. Default 0.2."`
}

// PushRetention says how long what is over is kept.
type PushRetention struct {
	Events   Duration `yaml:"events" json:"events,omitzero" about:"Default 7d."`
	Attempts Duration `yaml:"attempts" json:"attempts,omitzero" about:"Default 14d."`
	Dead     Duration `yaml:"dead" json:"dead,omitzero" about:"Deliveries that were given up. Default 30d."`
}

// PushTargets says where pushes may go.
type PushTargets struct {
	HTTP      bool   `yaml:"http" json:"http,omitempty" about:"Plain http is allowed. Default false."`
	Ports     []int  `yaml:"ports" json:"ports,omitempty" about:"Default 443 and 8443; [] means any."`
	Handshake string `yaml:"handshake" json:"handshake,omitempty" about:"optional (default) or required: a target must prove that it wants the pushes."`
}

// PushNotices is the operator's channel.
type PushNotices struct {
	URL    string `yaml:"url" json:"url,omitempty" about:"Is told by POST."`
	Secret string `yaml:"secret" json:"secret,omitempty" about:"Signs the notices: whsec_ and base64 of 24 to 64 bytes."`
}

// A PushItem is a declared subscription.
type PushItem struct {
	Name    string
	Account string
	User    string
	Doc     json.RawMessage // as POST /subscriptions takes it
}

// UnmarshalYAML reads an item. What is in it besides name, account and user is
// checked by package subscriptions.
func (i *PushItem) UnmarshalYAML(decode func(any) error) error {
	var all map[string]any
	if err := decode(&all); err != nil {
		return err
	}
	for key, into := range map[string]*string{"name": &i.Name, "account": &i.Account, "user": &i.User} {
		v, there := all[key]
		text, ok := v.(string)
		if there && !ok {
			return fmt.Errorf("%s: must be a text", key)
		}
		*into = text
		delete(all, key)
	}
	if i.Name == "" || i.Account == "" {
		return errors.New("a declared subscription needs name and account")
	}
	var err error
	i.Doc, err = json.Marshal(all)
	return err
}

// MarshalJSON writes the item without what may be a secret.
func (i PushItem) MarshalJSON() ([]byte, error) {
	all := map[string]any{}
	if err := json.Unmarshal(i.Doc, &all); err != nil {
		return nil, err
	}
	for _, key := range []string{"url", "auth", "noticeURL", "signing"} {
		if _, ok := all[key]; ok {
			all[key] = "***"
		}
	}
	all["name"], all["account"] = i.Name, i.Account
	if i.User != "" {
		all["user"] = i.User
	}
	return json.Marshal(all)
}

// A Size is a number of bytes, written as "256KiB" or as a number.
type Size int

// UnmarshalYAML reads a size.
func (s *Size) UnmarshalYAML(decode func(any) error) error {
	var text string
	if err := decode(&text); err != nil {
		return err
	}
	n, unit := text, 1
	for suffix, u := range map[string]int{"KiB": 1 << 10, "MiB": 1 << 20} {
		if rest, ok := strings.CutSuffix(text, suffix); ok {
			n, unit = rest, u
		}
	}
	count, err := strconv.ParseUint(strings.TrimSpace(n), 10, 20)
	if err != nil {
		return fmt.Errorf("%q is not a size; write 65536, 256KiB or 1MiB", text)
	}
	*s = Size(int(count) * unit)
	return nil
}

func (c *Config) checkSubscriptions() error {
	s := c.Subscriptions
	if s == nil {
		return nil
	}
	fail := func(key, text string) error {
		return c.errorAt("$.subscriptions."+key, "subscriptions."+key+": "+text)
	}
	seen := map[string]bool{}
	for i, item := range s.Items {
		if seen[item.Name] {
			return fail(fmt.Sprintf("items[%d]", i), fmt.Sprintf("there is another item %q", item.Name))
		}
		seen[item.Name] = true
	}
	switch {
	case c.Server.PublicURL == "":
		return c.errorAt("$.subscriptions", "subscriptions: needs server.publicURL, the address by which subscribers reach this server")
	case len(c.Keys) == 0:
		return c.errorAt("$.subscriptions", "subscriptions: needs keys, which seal the secrets of subscriptions")
	case s.Targets.Handshake != "" && s.Targets.Handshake != "optional" && s.Targets.Handshake != "required":
		return fail("targets.handshake", "must be optional or required")
	}
	return nil
}

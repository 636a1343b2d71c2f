package subscriptions

import (
	"fmt"
	"slices"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/subscriptions/spec"
)

// A Config is the section subscriptions of the configuration. Zero values mean
// the defaults.
type Config struct {
	PublicURL string                 // of kedge, without a slash at the end; for links and CloudEvents
	Entities  map[string]spec.Entity // what can be subscribed; nothing else can
	Limits    Limits
	Retry     Retry
	Retention Retention
	Targets   Targets
	Notices   Notices
	Items     []Item
}

// Limits bound what subscriptions cost.
type Limits struct {
	PerAccount   int           // subscriptions of an account; default 100
	Payload      int           // bytes of a body; default 256 KiB
	Backlog      int           // waiting deliveries of a subscription; default 50,000
	Concurrency  int           // requests at once to a subscription; default 64
	InFlight     int           // requests at once of a process; default 1,024
	Timeout      time.Duration // until the header of the answer; default 15 s
	MaxAge       time.Duration // a delivery that is older is given up; default 96 h
	DisableAfter time.Duration // time without a success, and 20 failures, until a subscription is disabled; default 120 h
}

// Retry says when a failed delivery is tried again.
type Retry struct {
	Schedule []time.Duration // after the first failure, the second, …; default 5s 5m 30m 2h 5h 10h 14h 20h 24h
	Jitter   float64         // part of a wait by which it varies, 0 to 1; default 0.2; negative means none
}

// Retention says how long the tables keep what is over.
type Retention struct {
	Events   time.Duration // default 7 days
	Attempts time.Duration // default 14 days
	Dead     time.Duration // default 30 days
}

// Targets says where pushes may go, besides the egress rules.
type Targets struct {
	HTTP      bool  // plain http is allowed
	Ports     []int // nil means 443 and 8443, an empty list any
	Handshake bool  // a target must prove that it wants the pushes
}

// Notices is the operator's channel for what happens to subscriptions.
type Notices struct {
	URL    string
	Secret string // whsec_…; "" means not signed
}

// An Item is a subscription that the config declares.
type Item struct {
	Name    string // unique; part of the id
	Account string
	User    string
	Doc     spec.Doc
}

var defaultSchedule = []time.Duration{5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour,
	10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour}

const day = 24 * time.Hour

// setDefaults fills in zero values and checks the others.
func (c *Config) setDefaults() error {
	def(&c.Limits.PerAccount, 100)
	def(&c.Limits.Payload, 256<<10)
	def(&c.Limits.Backlog, 50_000)
	def(&c.Limits.Concurrency, 64)
	def(&c.Limits.InFlight, 1024)
	def(&c.Limits.Timeout, 15*time.Second)
	def(&c.Limits.MaxAge, 96*time.Hour)
	def(&c.Limits.DisableAfter, 120*time.Hour)
	def(&c.Retention.Events, 7*day)
	def(&c.Retention.Attempts, 14*day)
	def(&c.Retention.Dead, 30*day)
	def(&c.Retry.Jitter, 0.2)
	if c.Retry.Schedule == nil {
		c.Retry.Schedule = defaultSchedule
	}
	if c.Targets.Ports == nil {
		c.Targets.Ports = []int{443, 8443}
	}
	bad := func(key, text string) error {
		return &kedge.Error{Op: "subscriptions." + key, Kind: kedge.Invalid, Err: fmt.Errorf("%s", text)}
	}
	l := c.Limits
	switch {
	case c.PublicURL == "":
		return bad("publicURL", "is required: set server.publicURL")
	case min(l.PerAccount, l.Payload, l.Backlog, l.Concurrency, l.InFlight) < 0:
		return bad("limits", "a limit is negative")
	case min(l.Timeout, l.MaxAge, l.DisableAfter, c.Retention.Events, c.Retention.Attempts, c.Retention.Dead) < 0:
		return bad("limits", "a time is negative")
	case len(c.Retry.Schedule) == 0 || slices.Min(c.Retry.Schedule) < 0:
		return bad("retry.schedule", "needs at least one wait, and none below zero")
	case c.Retry.Jitter > 1:
		return bad("retry.jitter", "is above 1")
	}
	c.Retry.Jitter = max(0, c.Retry.Jitter)
	return nil
}

func def[T comparable](p *T, value T) {
	var zero T
	if *p == zero {
		*p = value
	}
}

// limits is what documents are checked against.
func (c *Config) limits() spec.Limits {
	return spec.Limits{HTTP: c.Targets.HTTP, Ports: c.Targets.Ports, MaxConcurrency: c.Limits.Concurrency, Handshake: c.Targets.Handshake}
}

// Package spec reads what a subscriber wants: the subscription document, the
// resources and events that it names, and the grants that allow it. It does no
// I/O.
//
// A [Doc] is parsed ([Parse]), changed ([MergePatch]) and judged against a
// [Catalog], the entities that the config offers, and [Grants]; what passes is
// a list of [Scope], the form that events are matched with.
package spec

import (
	"strings"
	"time"

	"github.com/kedge-sync/kedge"
)

// A Doc is a subscription as its subscriber writes it.
type Doc struct {
	URL           string            `json:"url"`
	Resource      string            `json:"resource"`
	Events        []string          `json:"events"`
	Select        map[string]Select `json:"select,omitempty"` // by entity
	Method        string            `json:"method"`           // POST (default), PUT, PATCH or GET
	Auth          Auth              `json:"auth"`
	Format        string            `json:"format"`  // one of the Format constants
	Payload       string            `json:"payload"` // full (default) or thin
	Numbers       string            `json:"numbers"` // number (default) or string
	Signing       Signing           `json:"signing"`
	Ordering      string            `json:"ordering"`      // one of the Order constants
	Collapse      bool              `json:"collapse"`      // waiting updates of a record become one
	Concurrency   int               `json:"concurrency"`   // requests at once; 0 means 16
	RatePerSecond float64           `json:"ratePerSecond"` // 0 means no limit
	Verify        string            `json:"verify"`        // none (default), challenge or cloudevents
	ExpiresAt     *time.Time        `json:"expiresAt"`     // null means never
	State         string            `json:"state"`         // active (default) or paused
	NoticeURL     *string           `json:"noticeURL"`     // told when the subscription is disabled or expires
	Description   string            `json:"description"`
	Metadata      map[string]string `json:"metadata"`
}

// Select narrows the events of one entity.
type Select struct {
	Fields []string `json:"fields,omitempty"` // nil means all that are granted
	Filter string   `json:"filter,omitempty"`
	Via    string   `json:"via,omitempty"` // lookup field to the parent, if there are several
}

// Auth is how kedge shows the receiver who calls.
type Auth struct {
	Type     string            `json:"type"` // none (default), bearer, basic, header or query
	Token    string            `json:"token,omitempty"`
	Username string            `json:"username,omitempty"`
	Password string            `json:"password,omitempty"`
	Headers  map[string]string `json:"headers,omitempty"`
	Name     string            `json:"name,omitempty"`
	Value    string            `json:"value,omitempty"`
}

// Signing is the algorithm of signatures, and the key if the subscriber brings
// one.
type Signing struct {
	Alg    string `json:"alg"` // hmac (default) or ed25519
	Secret string `json:"secret,omitempty"`
}

// The values of [Doc.Format].
const (
	FormatStandard   = "standard"
	FormatStructured = "cloudevents-structured"
	FormatBinary     = "cloudevents-binary"
)

// The values of [Doc.Ordering].
const (
	OrderRecord       = "record"       // event k+1 of a record waits for event k
	OrderSubscription = "subscription" // one request at a time
	OrderNone         = "none"
)

// The limits of a document.
const (
	MaxBody        = 64 << 10
	MaxEvents      = 50
	MaxURL         = 2048
	MaxFilter      = 2000
	MaxHeaders     = 10
	MaxHeaderBytes = 4 << 10
	MaxDescription = 1000
	MaxMetadata    = 20
	MaxMetaBytes   = 500 // of a key or a value

	defaultConcurrency = 16
)

// Masked stands for what is never shown again: the path of a URL, and values
// of authentication.
const Masked = "…"

// setDefaults fills in what a document leaves out.
func (d *Doc) setDefaults() {
	def := func(p *string, value string) {
		if *p == "" {
			*p = value
		}
	}
	d.Method = strings.ToUpper(d.Method)
	def(&d.Method, "POST")
	def(&d.Auth.Type, "none")
	def(&d.Format, FormatStandard)
	def(&d.Payload, "full")
	def(&d.Numbers, "number")
	def(&d.Signing.Alg, "hmac")
	def(&d.Ordering, OrderRecord)
	def(&d.Verify, "none")
	def(&d.State, "active")
	if d.Concurrency == 0 {
		d.Concurrency = defaultConcurrency
	}
	if d.Metadata == nil {
		d.Metadata = map[string]string{}
	}
}

// A Problem is something wrong with a document, and where.
type Problem struct {
	Pointer string // JSON Pointer (RFC 6901)
	Detail  string // says what to do
}

// Problems are all that is wrong with a document.
type Problems struct {
	Syntax bool // it cannot be read at all (400), as opposed to: it makes no sense (422)
	List   []Problem
}

// Error lists the problems.
func (p *Problems) Error() string {
	texts := make([]string, len(p.List))
	for i, x := range p.List {
		texts[i] = x.Pointer + ": " + x.Detail
	}
	return "subscription: " + strings.Join(texts, "; ")
}

func (p *Problems) add(pointer, detail string) {
	p.List = append(p.List, Problem{pointer, detail})
}

// or returns p as an error of kind Invalid, or nil if there is no problem.
func (p *Problems) or() error {
	if len(p.List) == 0 {
		return nil
	}
	return &kedge.Error{Op: "subscriptions", Kind: kedge.Invalid, Err: p}
}

package spec

import (
	"cmp"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/kedge-sync/kedge/internal/signature"
)

// Limits are what the config allows.
type Limits struct {
	HTTP           bool  // targets may use plain http
	Ports          []int // that targets may use; empty means any
	MaxConcurrency int   // per subscription; 0 means no limit
	Handshake      bool  // every subscription must prove its target
}

// Check returns all that is wrong with d, as an error of kind Invalid that
// holds [Problems].
func (d *Doc) Check(c *Catalog, g Grants, l Limits, now time.Time) error {
	p := &Problems{}
	checkURL(p, "/url", d.URL, l)
	if d.NoticeURL != nil {
		checkURL(p, "/noticeURL", *d.NoticeURL, l)
	}
	switch {
	case d.Resource == "":
		p.add("/resource", "is required: entity or entity/key")
	case len(d.Events) == 0:
		p.add("/events", "select at least one event")
	case len(d.Events) > MaxEvents:
		p.add("/events", "has more than 50 events")
	default:
		_, list := d.Scopes(c, g, now)
		slices.SortStableFunc(list, func(a, b Problem) int { return cmp.Compare(a.Pointer, b.Pointer) })
		p.List = append(p.List, list...)
	}
	d.checkChoices(p)
	d.Auth.check(p)
	d.checkSigning(p)
	switch {
	case d.Concurrency < 0:
		p.add("/concurrency", "is negative")
	case l.MaxConcurrency > 0 && d.Concurrency > l.MaxConcurrency:
		p.add("/concurrency", "is above the limit of "+itoa(l.MaxConcurrency))
	}
	if d.RatePerSecond < 0 {
		p.add("/ratePerSecond", "is negative")
	}
	if d.ExpiresAt != nil && !d.ExpiresAt.After(now) {
		p.add("/expiresAt", "is in the past")
	}
	if l.Handshake && d.Verify == "none" {
		p.add("/verify", "none is not allowed here; use challenge or cloudevents")
	}
	d.checkTexts(p)
	return p.or()
}

func checkURL(p *Problems, at, text string, l Limits) {
	u, err := url.Parse(text)
	switch {
	case text == "":
		p.add(at, "is required")
	case strings.Contains(text, Masked):
		p.add(at, "is the masked form that answers show; send the whole URL or leave it out")
	case len(text) > MaxURL:
		p.add(at, "is longer than 2048 bytes")
	case err != nil || !utf8.ValidString(text) || hasControl(text):
		p.add(at, "is not a URL")
	case u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.Hostname() == "":
		p.add(at, "write an absolute URL: https://host/path")
	case u.Scheme == "http" && !l.HTTP:
		p.add(at, "plain http is not allowed; set subscriptions.targets.http")
	case u.User != nil:
		p.add(at, "must not hold a user name; use auth")
	case u.Fragment != "" || strings.Contains(text, "#"):
		p.add(at, "must not have a fragment")
	case !PortAllowed(u, l.Ports):
		p.add(at, "the port is not allowed; see subscriptions.targets.ports")
	}
}

// PortAllowed reports whether the port of u is one of ports. An empty list
// allows any.
func PortAllowed(u *url.URL, ports []int) bool {
	if len(ports) == 0 {
		return true
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	n, err := strconv.Atoi(port)
	return err == nil && slices.Contains(ports, n)
}

func (d *Doc) checkChoices(p *Problems) {
	for _, c := range []struct {
		at, value string
		allowed   []string
	}{
		{"/method", d.Method, []string{"POST", "PUT", "PATCH", "GET"}},
		{"/format", d.Format, []string{FormatStandard, FormatStructured, FormatBinary}},
		{"/payload", d.Payload, []string{"full", "thin"}},
		{"/numbers", d.Numbers, []string{"number", "string"}},
		{"/ordering", d.Ordering, []string{OrderRecord, OrderSubscription, OrderNone}},
		{"/verify", d.Verify, []string{"none", "challenge", "cloudevents"}},
		{"/state", d.State, []string{"active", "paused"}},
		{"/signing/alg", d.Signing.Alg, []string{signature.HMAC, signature.Ed25519}},
		{"/auth/type", d.Auth.Type, []string{"none", "bearer", "basic", "header", "query"}},
	} {
		if !slices.Contains(c.allowed, c.value) {
			p.add(c.at, "use "+strings.Join(c.allowed, ", "))
		}
	}
}

func (d *Doc) checkSigning(p *Problems) {
	if d.Signing.Secret == "" {
		return
	}
	k, err := signature.ParseKey(d.Signing.Secret)
	switch {
	case err != nil:
		p.add("/signing/secret", err.Error())
	case k.Alg() != d.Signing.Alg || k.Secret() == k.Shared() && k.Alg() == signature.Ed25519:
		p.add("/signing/secret", "does not fit alg: hmac needs whsec_, ed25519 whsk_")
	}
}

func (a *Auth) check(p *Problems) {
	need := func(at, value string) {
		switch {
		case value == "":
			p.add("/auth/"+at, "is required with type "+a.Type)
		case hasControl(value):
			p.add("/auth/"+at, "must not contain control characters")
		case strings.Contains(value, Masked):
			p.add("/auth/"+at, "is the masked form that answers show; send the value or leave auth out")
		}
	}
	switch a.Type {
	case "bearer":
		need("token", a.Token)
	case "basic":
		need("username", a.Username)
		if strings.Contains(a.Username, ":") {
			p.add("/auth/username", "must not contain a colon")
		}
		need("password", a.Password)
	case "query":
		need("name", a.Name)
		need("value", a.Value)
		if strings.HasPrefix(a.Name, "kedge_") {
			p.add("/auth/name", "names with kedge_ are kedge's own")
		}
	case "header":
		a.checkHeaders(p)
	}
}

func (a *Auth) checkHeaders(p *Problems) {
	if len(a.Headers) == 0 || len(a.Headers) > MaxHeaders {
		p.add("/auth/headers", "give 1 to 10 headers")
	}
	size := 0
	seen := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(a.Headers)) {
		value := a.Headers[name]
		size += len(name) + len(value)
		at, lower := "/auth/headers/"+pointer(name), strings.ToLower(name)
		switch {
		case !headerName.MatchString(name) || hasControl(value) || strings.TrimSpace(value) != value:
			p.add(at, "is not a valid header")
		case reserved(lower):
			p.add(at, "is kedge's own to set")
		case seen[lower]:
			p.add(at, "is there twice")
		case strings.Contains(value, Masked):
			p.add(at, "is the masked form that answers show; send the value or leave auth out")
		}
		seen[lower] = true
	}
	if size > MaxHeaderBytes {
		p.add("/auth/headers", "are longer than 4096 bytes together")
	}
}

var headerName = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$") // a token (RFC 9110, 5.6.2)

// reserved reports whether a header, in lower case, is not for subscribers:
// those that frame the request (RFC 9110, 7.6.1) and those that a push sets.
func reserved(name string) bool {
	for _, prefix := range []string{"content-", "webhook-", "ce-", "kedge-", "proxy-"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return slices.Contains([]string{"host", "connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "expect", "user-agent"}, name)
}

func (d *Doc) checkTexts(p *Problems) {
	if len(d.Description) > MaxDescription {
		p.add("/description", "is longer than 1000 bytes")
	}
	if len(d.Metadata) > MaxMetadata {
		p.add("/metadata", "has more than 20 members")
	}
	for name, value := range d.Metadata {
		if len(name) > MaxMetaBytes || len(value) > MaxMetaBytes {
			p.add("/metadata", "has a name or value longer than 500 bytes")
			return
		}
	}
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

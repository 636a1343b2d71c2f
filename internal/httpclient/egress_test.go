package httpclient_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/httpclient"
)

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// TestEgressBlocks: no spelling of an address that is not public is connected
// to. The names go through the machine's resolver, as in real life.
func TestEgressBlocks(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a request came through") }))
	defer srv.Close()
	port := parse(t, srv.URL).Port()
	clk := newClock()
	c, err := httpclient.New(httpclient.Options{AllowHTTP: true, Timeout: time.Second, Now: clk.Now, Sleep: clk.Sleep})
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{
		"127.0.0.1", "127.1.2.3", "localhost", "LOCALHOST", "[::1]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
		"0.0.0.0", "[::]", "[::127.0.0.1]", "[64:ff9b::127.0.0.1]", "[64:ff9b::a9fe:a9fe]", "[2002:7f00:1::]", "[64:ff9b:1::1]",
		"[::ffff:0:10.0.0.1]", "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "100.64.0.1", "100.127.255.255",
		"169.254.169.254", "169.254.0.1", "[fd00:ec2::254]", "[fc00::1]", "[fdff::1]", "[fe80::1]", "[fe80::1%25lo]", "[fec0::1]",
		"192.0.0.192", "100.100.100.200", "168.63.129.16", "224.0.0.1", "239.255.255.255", "[ff02::1]", "255.255.255.255", "240.0.0.1",
		"198.18.0.1", "192.0.2.1", "198.51.100.1", "203.0.113.1", "[2001:db8::1]", "[2001::1]", "[100::1]",
	} {
		u, err := url.Parse("http://" + host + ":" + port + "/x?secret=1")
		if err != nil {
			t.Fatal(err)
		}
		err = c.Do(t.Context(), httpclient.Request{Op: "test.Get", URL: u, Effect: once}, nil)
		blocked, ok := errors.AsType[*httpclient.BlockedError](err)
		ne, _ := errors.AsType[*httpclient.NetError](err)
		if !ok || kedge.KindOf(err) != kedge.Forbidden || ne.Phase != httpclient.PhaseBlocked {
			t.Errorf("%s: %v, want Forbidden by the guard", host, err)
		} else if !strings.Contains(err.Error(), blocked.Addr.String()) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: text %v", host, err)
		}
	}
	// Spellings that only some resolvers know: refused or not found, never through.
	for _, host := range []string{"2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0", "127.0.0.1.", "localhost."} {
		if err := c.Do(t.Context(), httpclient.Request{URL: parse(t, "http://"+host+":"+port), Effect: once, Op: "x"}, nil); err == nil {
			t.Errorf("%s came through", host)
		}
	}
}

func TestEgressAllows(t *testing.T) {
	for _, tt := range []struct {
		addr  string
		allow string
		ok    bool
	}{
		{"8.8.8.8", "", true}, {"172.15.255.255", "", true}, {"172.32.0.0", "", true}, {"100.63.255.255", "", true}, {"100.128.0.0", "", true},
		{"11.0.0.0", "", true}, {"9.255.255.255", "", true}, {"2606:4700::1", "", true}, {"64:ff9b::8.8.8.8", "", true}, {"2002:808:808::", "", true},
		{"223.255.255.255", "", true}, {"::ffff:8.8.8.8", "", true},
		{"10.1.2.3", "10.0.0.0/8", true}, {"::ffff:10.1.2.3", "10.0.0.0/8", true}, {"64:ff9b::10.1.2.3", "10.0.0.0/8", true},
		{"10.1.2.3", "10.1.2.3/32", true}, {"10.1.2.4", "10.1.2.3/32", false}, {"192.168.1.1", "10.0.0.0/8", false},
		{"fd12::1", "fd12::/16", true}, {"fd13::1", "fd12::/16", false}, {"fe80::1%eth0", "fe80::/10", true}, {"::ffff:127.0.0.1", "::/0", false},
	} {
		var allow []netip.Prefix
		if tt.allow != "" {
			allow = append(allow, netip.MustParsePrefix(tt.allow))
		}
		err := httpclient.Guard(netip.MustParseAddr(tt.addr), allow)
		if (err == nil) != tt.ok {
			t.Errorf("%s with %q allowed: %v, want ok %v", tt.addr, tt.allow, err, tt.ok)
		}
	}
}

// TestOriginIsTrusted: the config's own URL passes, its neighbours do not.
func TestOriginIsTrusted(t *testing.T) {
	hits := map[string]int{}
	handler := func(name string) http.Handler {
		return http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits[name]++ })
	}
	own, other := httptest.NewServer(handler("own")), httptest.NewServer(handler("other"))
	defer own.Close()
	defer other.Close()
	otherHost := parse(t, other.URL).Host
	for _, tt := range []struct {
		name string
		set  func(*httpclient.Options)
		url  string
		kind kedge.Kind // Internal: none
	}{
		{"own", nil, own.URL, kedge.Internal},
		{"other port", nil, other.URL, kedge.Forbidden},
		{"other port, listed but private", func(o *httpclient.Options) { o.AllowHosts = []string{otherHost} }, other.URL, kedge.Forbidden},
		{"other port, listed and network allowed", func(o *httpclient.Options) { o.AllowHosts, o.Egress = []string{otherHost}, loopback }, other.URL, kedge.Internal},
		{"network allowed but not listed", func(o *httpclient.Options) { o.Egress = loopback }, other.URL, kedge.Forbidden},
		{"other name of the same host", nil, strings.Replace(own.URL, "127.0.0.1", "localhost", 1), kedge.Forbidden},
		{"user in the URL", nil, strings.Replace(own.URL, "http://", "http://user:pass@", 1), kedge.Forbidden},
		{"other scheme", nil, strings.Replace(own.URL, "http", "https", 1), kedge.Forbidden},
		{"no web at all", nil, "file:///etc/passwd", kedge.Forbidden},
		{"plain http to a public host", func(o *httpclient.Options) { o.AllowHosts = []string{"example.com"} }, "http://example.com/", kedge.Forbidden},
	} {
		t.Run(tt.name, func(t *testing.T) {
			clear(hits)
			c, _ := connect(t, own.URL, tt.set)
			err := c.Do(t.Context(), httpclient.Request{Op: "x", URL: parse(t, tt.url)}, nil)
			if tt.kind == kedge.Internal {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if kedge.KindOf(err) != tt.kind || len(hits) != 0 || strings.Contains(err.Error(), "pass") {
				t.Errorf("%v with requests at %v, want %v and none", err, hits, tt.kind)
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	for name, o := range map[string]httpclient.Options{
		"plain http":           {Origin: parse(t, "http://example.com")},
		"user in origin":       {Origin: parse(t, "https://me:secret@example.com")},
		"no host":              {Origin: parse(t, "https:///x")},
		"negative concurrency": {Concurrency: -1},
		"negative rate":        {Rate: -1},
		"socks proxy":          {Proxy: parse(t, "socks5://127.0.0.1:1080")},
	} {
		if _, err := httpclient.New(o); kedge.KindOf(err) != kedge.Invalid || strings.Contains(fmt.Sprint(err), "secret") {
			t.Errorf("%s: %v, want Invalid", name, err)
		}
	}
	if _, err := httpclient.New(httpclient.Options{Origin: parse(t, "http://example.com"), AllowHTTP: true}); err != nil {
		t.Error(err)
	}
}

// TestHTTPSNeverFalls: an https connection sends nothing in the clear, whatever is allowed.
func TestHTTPSNeverFalls(t *testing.T) {
	c, err := httpclient.New(httpclient.Options{Origin: parse(t, "https://example.com"), AllowHTTP: true, AllowHosts: []string{"example.com", "example.com:80"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Do(t.Context(), httpclient.Request{URL: parse(t, "http://example.com/")}, nil); kedge.KindOf(err) != kedge.Forbidden {
		t.Errorf("got %v, want Forbidden", err)
	}
}

// TestBadCertificate: a wrong certificate does not get better by trying.
func TestBadCertificate(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a request came through") }))
	srv.Config.ErrorLog = quiet
	defer srv.Close()
	c, clk := connect(t, srv.URL, nil)
	err := c.Do(t.Context(), httpclient.Request{URL: parse(t, srv.URL)}, nil)
	ne, ok := errors.AsType[*httpclient.NetError](err)
	if kedge.KindOf(err) != kedge.Invalid || !ok || ne.Phase != httpclient.PhaseTLS || len(clk.slept) != 0 {
		t.Errorf("got %v after %d waits, want Invalid at once", err, len(clk.slept))
	}
}

func TestUnknownHost(t *testing.T) {
	c, clk := connect(t, "https://no-such-host.invalid", nil)
	err := c.Do(t.Context(), httpclient.Request{URL: parse(t, "https://no-such-host.invalid/x")}, nil)
	ne, ok := errors.AsType[*httpclient.NetError](err)
	if kedge.KindOf(err) != kedge.Transient || !ok || ne.Phase != httpclient.PhaseDNS {
		t.Errorf("got %v, want Transient at dns", err)
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound && len(clk.slept) != 2 {
		t.Errorf("%d waits, want 2", len(clk.slept))
	}
}

package httpclient_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/httpclient"
)

// tunnel connects the client of a CONNECT request with the target.
func tunnel(t *testing.T, w http.ResponseWriter, target string) {
	client, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		t.Error(err)
		return
	}
	server, err := net.Dial("tcp", target)
	if err != nil {
		t.Error(err)
		return
	}
	io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n")
	go func() { io.Copy(server, client); server.Close() }()
	go func() { io.Copy(client, server); client.Close() }()
}

// TestProxy: the connection's own host is named to the proxy; any other goes
// by the address that the guard has seen.
func TestProxy(t *testing.T) {
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") }))
	defer target.Close()
	var asked []string
	status := http.StatusOK
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Header.Get("Proxy-Authorization") != "Basic bWU6aHVzaA==" {
			t.Errorf("proxy got %s %v", r.Method, r.Header)
		}
		if asked = append(asked, r.Host); status != http.StatusOK {
			w.WriteHeader(status)
			return
		}
		tunnel(t, w, target.Listener.Addr().String())
	}))
	defer proxy.Close()
	pu := parse(t, strings.Replace(proxy.URL, "http://", "http://me:hush@", 1))
	port := parse(t, target.URL).Port()
	do := func(o httpclient.Options, to string) error {
		clk := newClock()
		o.Proxy, o.AllowHTTP, o.Now, o.Sleep = pu, true, clk.Now, clk.Sleep
		c, err := httpclient.New(o)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		asked = nil
		return c.Do(t.Context(), httpclient.Request{Op: "x", URL: parse(t, to)}, nil)
	}
	own := "http://erp.internal:" + port
	if err := do(httpclient.Options{Origin: parse(t, own)}, own); err != nil || fmt.Sprint(asked) != "[erp.internal:"+port+"]" {
		t.Errorf("own host: %v, proxy was asked for %v", err, asked)
	}
	named := "http://localhost:" + port
	if err := do(httpclient.Options{}, named); kedge.KindOf(err) != kedge.Forbidden || asked != nil {
		t.Errorf("blocked address: %v, proxy was asked for %v", err, asked)
	}
	if err := do(httpclient.Options{Egress: loopback}, named); err != nil || len(asked) != 1 || strings.Contains(asked[0], "localhost") {
		t.Errorf("allowed address: %v, proxy was asked for %v", err, asked)
	}
	status = http.StatusProxyAuthRequired
	if err := do(httpclient.Options{Origin: parse(t, own)}, own); kedge.KindOf(err) != kedge.Transient || !strings.Contains(err.Error(), "proxy: 407") || strings.Contains(err.Error(), "hush") {
		t.Errorf("refusing proxy: %v", err)
	}
}

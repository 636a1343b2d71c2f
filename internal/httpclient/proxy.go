package httpclient

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"
)

// dialProxy connects to addr through the proxy. The connection's own host is
// named to the proxy as it is; any other is resolved here, and the proxy is
// asked for the address that the guard has seen.
func (c *Client) dialProxy(ctx context.Context, addr string) (net.Conn, error) {
	if !c.trusts(addr) {
		checked, err := c.resolve(ctx, addr)
		if err != nil {
			return nil, err
		}
		addr = checked
	}
	o := originOf(c.opts.Proxy)
	var conn net.Conn
	var err error
	if hostport := net.JoinHostPort(o.host, o.port); o.scheme == "https" {
		d := tls.Dialer{NetDialer: c.dialer(), Config: &tls.Config{ServerName: o.host}}
		conn, err = d.DialContext(ctx, "tcp", hostport)
	} else {
		conn, err = c.dialer().DialContext(ctx, "tcp", hostport)
	}
	if err != nil {
		return nil, err
	}
	if err := connect(ctx, conn, addr, c.opts.Proxy.User); err != nil {
		conn.Close()
		return nil, &net.OpError{Op: "dial", Net: "proxy", Err: err}
	}
	return conn, nil
}

// resolve returns addr with the first address of its host. All addresses must
// pass the guard.
func (c *Client) resolve(ctx context.Context, addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", err
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return "", err
	}
	for _, ip := range ips {
		if err := guard(ip, c.opts.Egress); err != nil {
			return "", err
		}
	}
	return net.JoinHostPort(ips[0].Unmap().String(), port), nil
}

// connect asks the proxy for a tunnel (RFC 9110, 9.3.6).
func connect(ctx context.Context, conn net.Conn, addr string, user *url.Userinfo) error {
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := conn.SetDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return err
	}
	r := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: addr}, Host: addr, Header: http.Header{}}
	if user != nil {
		pass, _ := user.Password()
		r.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+pass)))
	}
	if err := r.Write(conn); err != nil {
		return errors.New("proxy: connection broke")
	}
	// The target speaks only after us, so nothing of it can be in the buffer.
	resp, err := http.ReadResponse(bufio.NewReader(conn), r)
	if err != nil {
		return errors.New("proxy: no valid answer")
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("proxy: %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	}
	return conn.SetDeadline(time.Time{})
}

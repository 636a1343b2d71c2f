package httpclient

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
)

// An origin is scheme, host and port in one comparable form (RFC 6454).
type origin struct {
	scheme, host, port string
}

func originOf(u *url.URL) origin {
	o := origin{strings.ToLower(u.Scheme), strings.ToLower(u.Hostname()), u.Port()}
	if o.port == "" {
		o.port = defaultPort(o.scheme)
	}
	return o
}

func defaultPort(scheme string) string {
	if scheme == "http" {
		return "80"
	}
	return "443"
}

// originText is what errors and logs may show of a URL: no path, no query, no
// user.
func originText(u *url.URL) string { return u.Scheme + "://" + u.Host }

// loopback reports whether the host is this machine by its name alone.
func (o origin) loopback() bool {
	if o.host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(o.host)
	return err == nil && a.Unmap().IsLoopback()
}

// checkURL returns an error if requests must not go to u. Nothing is resolved
// here: addresses are checked when a connection is made (egress.go).
func (c *Client) checkURL(u *url.URL) error {
	to := originOf(u)
	switch {
	case to.scheme != "http" && to.scheme != "https":
		return errors.New("the URL is neither http nor https")
	case to.host == "":
		return errors.New("the URL has no host")
	case u.User != nil:
		return errors.New("the URL holds a user name; use auth")
	case to.scheme == "http" && c.origin.scheme == "https":
		return fmt.Errorf("%s: plain http is refused, for the connection uses https", originText(u))
	case to.scheme == "http" && !c.opts.AllowHTTP && !to.loopback():
		return fmt.Errorf("%s: plain http is refused; use https, or allowHTTP if the network is trusted", originText(u))
	case c.opts.Origin == nil || to == c.origin || c.allowed(to):
		return nil
	}
	return fmt.Errorf("%s is not the connection's own host (%s); list it in allowedHosts if it belongs to it",
		originText(u), originText(c.opts.Origin))
}

func (c *Client) allowed(to origin) bool {
	for _, h := range c.opts.AllowHosts {
		u := url.URL{Scheme: to.scheme, Host: h}
		if originOf(&u) == to {
			return true
		}
	}
	return false
}

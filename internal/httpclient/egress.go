package httpclient

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"syscall"
	"time"
)

// A BlockedError says that the egress guard refused an address.
type BlockedError struct {
	Addr netip.Addr
}

// Error names the address: it is no secret, and the operator needs it.
func (e *BlockedError) Error() string {
	return fmt.Sprintf("address %s is not public; allow its network under egress if requests may go there", e.Addr)
}

// blockedNets are the networks that are not the public internet (IANA
// special-purpose address registries), and metadata services outside of them.
var blockedNets = prefixes(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
	"192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24",
	"203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
	"168.63.129.16/32", // Azure's metadata and DNS service has a public address
	"::/127", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "3fff::/20", "5f00::/16",
	"fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
)

// Networks of IPv6 addresses that carry an IPv4 address, and where.
var carriers = []struct {
	net netip.Prefix
	at  int // index of its first byte
}{
	{netip.MustParsePrefix("::/96"), 12},           // IPv4-compatible (RFC 4291, 2.5.5.1)
	{netip.MustParsePrefix("::ffff:0:0:0/96"), 12}, // IPv4-translated (RFC 2765)
	{netip.MustParsePrefix("64:ff9b::/96"), 12},    // NAT64 (RFC 6052)
	{netip.MustParsePrefix("2002::/16"), 2},        // 6to4 (RFC 3056)
}

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// guard returns a *[BlockedError] if a lies in a network that is neither public
// nor in allow. An IPv4 address in IPv6 clothes is judged as what it is.
func guard(a netip.Addr, allow []netip.Prefix) error {
	plain := a.Unmap().WithZone("")
	if plain.Is6() && !plain.IsUnspecified() && !plain.IsLoopback() {
		for _, c := range carriers {
			if c.net.Contains(plain) {
				b := plain.As16()
				plain = netip.AddrFrom4([4]byte(b[c.at : c.at+4]))
				break
			}
		}
	}
	if contains(blockedNets, plain) && !contains(allow, plain) {
		return &BlockedError{Addr: a}
	}
	return nil
}

func contains(nets []netip.Prefix, a netip.Addr) bool {
	for _, n := range nets {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

// dial connects to addr, "host:port" of a request's URL. The guard sees the
// address that is really connected to, after the name was resolved, so neither
// odd spellings nor names that change their address pass it.
func (c *Client) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if c.opts.Dial != nil {
		return c.opts.Dial(ctx, network, addr)
	}
	if c.opts.Proxy != nil {
		return c.dialProxy(ctx, addr)
	}
	d := c.dialer()
	if !c.trusts(addr) {
		d.ControlContext = c.control
	}
	return d.DialContext(ctx, network, addr)
}

func (c *Client) dialer() *net.Dialer {
	d := &net.Dialer{Timeout: handshakeTimeout, KeepAlive: 30 * time.Second}
	if c.opts.Bind.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(c.opts.Bind, 0))
	}
	return d
}

// trusts reports whether addr is the connection's own host and port.
func (c *Client) trusts(addr string) bool {
	return c.opts.Origin != nil && addr == net.JoinHostPort(c.origin.host, c.origin.port)
}

func (c *Client) control(_ context.Context, _, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	return guard(ap.Addr(), c.opts.Egress)
}

// Allows returns a *[BlockedError] if the guard would refuse every address that
// the host of u has now. It connects to nothing, and a host that cannot be
// resolved passes: what protects is the guard itself, when a connection is made.
func (c *Client) Allows(ctx context.Context, u *url.URL) error {
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname())
	if err != nil {
		return nil
	}
	var blocked error
	for _, a := range addrs {
		if err := guard(a, c.opts.Egress); err == nil {
			return nil
		} else if blocked == nil {
			blocked = err
		}
	}
	return blocked
}

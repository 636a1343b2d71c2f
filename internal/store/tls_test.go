package store_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
)

// certificate returns a self-signed certificate for name or address, and the
// file of its authority.
func certificate(t *testing.T, host string) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host},
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	if ip := net.ParseIP(host); ip != nil {
		tmpl.IPAddresses = []net.IP{ip}
	} else {
		tmpl.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}

// terminate returns the address of a proxy that speaks TLS in front of the
// PostgreSQL server at addr.
func terminate(t *testing.T, addr string, cert tls.Certificate) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	serve := func(raw net.Conn) {
		defer raw.Close()
		// PostgreSQL, section 55.2.10: SSLRequest is 8 bytes, 'S' the consent.
		if _, err := io.ReadFull(raw, make([]byte, 8)); err != nil {
			return
		}
		if _, err := raw.Write([]byte("S")); err != nil {
			return
		}
		client := tls.Server(raw, &tls.Config{Certificates: []tls.Certificate{cert}})
		server, err := net.Dial("tcp", addr)
		if err != nil || client.Handshake() != nil {
			return
		}
		defer server.Close()
		go func() {
			_, _ = io.Copy(server, client)
			server.Close()
		}()
		_, _ = io.Copy(client, server)
	}
	go func() {
		for {
			raw, err := l.Accept()
			if err != nil {
				return
			}
			go serve(raw)
		}
	}()
	return l.Addr().String()
}

// pgdriver by itself takes any certificate; the store must not.
func TestTLSIsVerified(t *testing.T) {
	plain, err := url.Parse(storetest.PostgresDSN(t))
	if err != nil {
		t.Fatal(err)
	}
	right, rightCA := certificate(t, "127.0.0.1")
	wrong, wrongCA := certificate(t, "db.example.com")
	for _, tt := range []struct {
		name, query string
		cert        tls.Certificate
		ok          bool
	}{
		{"unknown authority", "", right, false},
		{"unknown authority, require", "sslmode=require", right, false},
		{"unknown authority, verify-full", "sslmode=verify-full", right, false},
		{"unknown authority, verify-ca", "sslmode=verify-ca", right, false},
		{"known authority", "sslrootcert=" + rightCA, right, true},
		{"known authority, require", "sslmode=require&sslrootcert=" + rightCA, right, true},
		{"known authority, verify-full", "sslmode=verify-full&sslrootcert=" + rightCA, right, true},
		{"wrong name", "sslrootcert=" + wrongCA, wrong, false},
		{"wrong name, require", "sslmode=require&sslrootcert=" + wrongCA, wrong, false},
		{"wrong name, verify-ca", "sslmode=verify-ca&sslrootcert=" + wrongCA, wrong, true},
		{"other authority", "sslrootcert=" + wrongCA, right, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u := *plain
			u.Host, u.RawQuery = terminate(t, plain.Host, tt.cert), tt.query
			s, err := store.Open(t.Context(), u.String(), nil)
			if err == nil {
				defer s.Close()
			}
			if (err == nil) != tt.ok {
				t.Fatalf("Open: %v, want ok %v", err, tt.ok)
			}
			if !tt.ok && (kedge.KindOf(err) != kedge.Invalid || !strings.Contains(err.Error(), "sslrootcert=FILE")) {
				t.Errorf("Open: %v (kind %v), want an invalid error with a hint", err, kedge.KindOf(err))
			}
		})
	}
}

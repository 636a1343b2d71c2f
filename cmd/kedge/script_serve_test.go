package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/kedge-sync/kedge/internal/httpapi/apitest"
)

// A served is a "kedge serve" that a script started.
type served struct {
	cmd   *exec.Cmd
	ended chan error

	mu   sync.Mutex
	grew *sync.Cond
	log  strings.Builder
	done bool
}

// Write takes the standard error of the process.
func (p *served) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.grew.Broadcast()
	return p.log.Write(text)
}

// kserve NAME ARG...: runs "kedge serve ARG..." until "kstop NAME" or the end
// of the script. Its address is $NAME.
func kserve(ts *testscript.TestScript, _ bool, args []string) {
	exe, err := os.Executable()
	ts.Check(err)
	cmd := exec.Command(exe, append([]string{"serve"}, args[1:]...)...)
	cmd.Args[0], cmd.Dir = "kedge", ts.MkAbs(".")
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "USER", "DSN", "ODATA", "SECRET", "HR_INGEST_KEY", "KEDGE_CONFIG", "KEDGE_KEY", "OPS_HOOK", "OPS_HOOK_SECRET", "WAREHOUSE_HOOK", "WAREHOUSE_KEY", "WAREHOUSE_SECRET"} {
		if v := ts.Getenv(name); v != "" {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	p := &served{cmd: cmd, ended: make(chan error, 1)}
	p.grew = sync.NewCond(&p.mu)
	cmd.Stderr = p
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	go func() {
		p.ended <- cmd.Wait()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.done = true
		p.grew.Broadcast()
	}()
	if err != nil {
		ts.Fatalf("the server does not listen: %v\n%s", <-p.ended, p.log.String())
	}
	servers := ts.Value("servers").(map[string]*served)
	servers[args[0]] = p
	ts.Defer(func() {
		if servers[args[0]] == p {
			ts.Check(p.stop(syscall.SIGTERM))
		}
	})
	ts.Setenv(args[0], strings.Fields(line)[3])
}

func (p *served) stop(s os.Signal) error {
	return errors.Join(p.cmd.Process.Signal(s), <-p.ended)
}

// kstop NAME: stops a server, which must end well.
func kstop(ts *testscript.TestScript, _ bool, args []string) {
	servers := ts.Value("servers").(map[string]*served)
	p := servers[args[0]]
	delete(servers, args[0])
	ts.Check(p.stop(syscall.SIGTERM))
}

// khup NAME PATTERN: sends SIGHUP and waits until the log of the server has a
// new line that the pattern matches.
func khup(ts *testscript.TestScript, _ bool, args []string) {
	p := ts.Value("servers").(map[string]*served)[args[0]]
	p.mu.Lock()
	from := p.log.Len()
	p.mu.Unlock()
	ts.Check(p.cmd.Process.Signal(syscall.SIGHUP))
	p.await(ts, from, args[1])
}

// klog NAME PATTERN: waits until the log of the server has a line that the
// pattern matches; "! klog" looks that it has none.
func klog(ts *testscript.TestScript, neg bool, args []string) {
	p := ts.Value("servers").(map[string]*served)[args[0]]
	if !neg {
		p.await(ts, 0, args[1])
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if line := regexp.MustCompile("(?m)" + args[1]).FindString(p.log.String()); line != "" {
		ts.Fatalf("the log has %q", line)
	}
}

func (p *served) await(ts *testscript.TestScript, from int, pattern string) {
	re := regexp.MustCompile("(?m)" + pattern)
	p.mu.Lock()
	defer p.mu.Unlock()
	late := time.AfterFunc(time.Minute, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.done = true
		p.grew.Broadcast()
	})
	defer late.Stop()
	for !re.MatchString(p.log.String()[from:]) {
		if p.done {
			ts.Fatalf("the log has no line %s:\n%s", pattern, p.log.String()[from:])
		}
		p.grew.Wait()
	}
}

// call STATUS METHOD URL [BODYFILE|- [NAME:VALUE...]]: sends a request; its
// answer, which must have the status, is in the file "answer", its headers are
// in the file "headers". Certificates are not checked. A body file that ends
// in .json is sent as such.
func call(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	var body io.Reader
	if len(args) > 3 && args[3] != "-" {
		body = strings.NewReader(ts.ReadFile(args[3]))
	}
	r, err := http.NewRequest(args[1], args[2], body)
	ts.Check(err)
	if len(args) > 3 && strings.HasSuffix(args[3], ".json") {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, h := range args[min(4, len(args)):] {
		name, v, _ := strings.Cut(h, ":")
		r.Header.Set(name, v)
	}
	if h := r.Header.Get("Host"); h != "" {
		r.Host = h
	}
	client := &http.Client{
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(r)
	ts.Check(err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	ts.Check(err)
	var headers strings.Builder
	ts.Check(resp.Header.Write(&headers))
	ts.Check(os.WriteFile(ts.MkAbs("answer"), text, 0o600))
	ts.Check(os.WriteFile(ts.MkAbs("headers"), []byte(strings.ReplaceAll(headers.String(), "\r", "")), 0o600))
	if resp.StatusCode != want {
		ts.Fatalf("%s %s: %d %s, want %d", args[1], args[2], resp.StatusCode, text, want)
	}
	if err := apitest.Check(args[1], args[2], resp.StatusCode, resp.Header.Get("Content-Type"), text); err != nil {
		ts.Fatalf("%s %s: %v", args[1], args[2], err)
	}
}

// certificate CERT KEY: writes a certificate for 127.0.0.1, signed by itself.
func certificate(ts *testscript.TestScript, _ bool, args []string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: args[0]}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	ts.Check(err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), 0o600))
}

package config

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
)

// load writes files into a folder and loads kedge.yaml from there.
func load(t *testing.T, files map[string]string) (*Config, error) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := Load(filepath.Join(dir, "kedge.yaml"))
	if err != nil {
		err = &kedge.Error{Kind: kedge.KindOf(err), Err: errText(strings.ReplaceAll(err.Error(), dir+"/", ""))}
	}
	return c, err
}

type errText string

func (e errText) Error() string { return string(e) }

const crm = `version: 1
connections:
  crm:
    kind: odata
    url: https://crm.example/
`

func TestWrongConfigs(t *testing.T) {
	t.Setenv("SET", "value")
	for _, tt := range []struct{ name, text, want string }{
		{"empty", "", `kedge.yaml: the file is empty; "kedge init" writes one to start from`},
		{"unknown key", "version: 1\nconections: {}\n", `kedge.yaml:2:1: unknown key conections; did you mean "connections"?`},
		{"unknown nested key", "version: 1\nstore: {dns: x}\n", `kedge.yaml:2:9: unknown key dns; did you mean "dsn"?`},
		{"duplicate key", "version: 1\nlog: {level: info}\nlog: {level: warn}\n", `kedge.yaml:3:1: `},
		{"no version", "store: {}\n", `kedge.yaml: version: is 0, must be 1: the only version there is`},
		{"other version", "version: 2\n", `kedge.yaml:1:10: version: is 2, must be 1: the only version there is`},
		{"wrong type", "version: one\n", `kedge.yaml:1:10: `},
		{"not YAML", "version: [1\n", `kedge.yaml:1:`},
		{"two documents", "version: 1\n---\nversion: 1\n", `kedge.yaml:3:`},
		{"anchor", "version: 1\nstore: &s {}\n", `kedge.yaml:2:8: YAML anchors and aliases are not allowed; write the value out`},
		{"tag", "version: 1\nkeys: !0\n", `kedge.yaml:2:7: YAML tags are not allowed`}, // the library panics on it
		{"not UTF-8", "version: 1 # \x86\n", `kedge.yaml: the file is not UTF-8`},
		{"variable not set", "version: 1\nstore: {dsn: \"${NOT_SET_HERE}\"}\n", `kedge.yaml:2:14: the environment variable NOT_SET_HERE is not set; set it, or write ${NOT_SET_HERE:-DEFAULT}`},
		{"secret file missing", "version: 1\nstore: {dsn: \"file:nowhere\"}\n", `kedge.yaml:2:14: the file that this value refers to cannot be read: `},
		{"connection without kind", "version: 1\nconnections:\n  crm: {url: x}\n", `kind: missing; "kedge connections list --kinds" lists them`},
		{"connection without a block", "version: 1\nconnections:\n  crm:\n", `connections.crm: kind: missing`},
		{"connection name", crm + "  Crm: {kind: odata}\n", `kedge.yaml:6:8: connections.Crm: use a lower-case letter, then up to 62 lower-case letters, digits or hyphens`},
		{"integration without external", crm + "integrations:\n  - {name: a, mapping: m.yaml}\n", `kedge.yaml:7:`},
		{"unknown connection", crm + "integrations:\n  - {name: a, external: crn, mapping: m.yaml}\n", `kedge.yaml:7:25: integrations[0].external: there is no connection "crn"; did you mean "crm"?`},
		{"no mapping", crm + "integrations:\n  - {name: a, external: crm}\n", `integrations[0].mapping: missing; name the mapping file`},
		{"twice", crm + "integrations:\n  - {name: a, external: crm, mapping: m}\n  - {name: a, external: crm, mapping: m}\n", `kedge.yaml:8:12: integrations[1].name: there is another integration "a"`},
		{"log level", "version: 1\nlog: {level: loud}\n", `kedge.yaml:2:14: log.level: must be debug, info, warn or error`},
		{"network", "version: 1\negress: {allow: [10.0.0.0]}\n", `egress.allow: not a network; write 10.0.0.0/8`},
		{"proxy", "version: 1\negress: {proxy: proxy}\n", `egress.proxy: not a URL`},
		{"duration", "version: 1\nstore: {leaseTTL: soon}\n", `is not a duration; write 90s, 15m, 168h, 7d or 10y`},
		{"negative", "version: 1\nsync: {commitRows: -1}\n", `kedge.yaml:2:20: sync.commitRows: must not be negative`},
		{"key too short", "version: 1\nkeys: [{id: k1, value: c2hvcnQ=}]\n", `keys[0].value: must be base64 of 32 bytes`},
		{"include that is not there", "version: 1\ninclude: [more.yaml]\n", `include: there is no file more.yaml`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := load(t, map[string]string{"kedge.yaml": tt.text})
			if err == nil || !strings.Contains(err.Error(), tt.want) || kedge.KindOf(err) != kedge.Invalid {
				t.Errorf("error %v (kind %v), want %q", err, kedge.KindOf(err), tt.want)
			}
		})
	}
}

func TestIncludes(t *testing.T) {
	c, err := load(t, map[string]string{
		"kedge.yaml": crm + "include: [\"int-*.yaml\"]\nintegrations: [{name: main, external: crm, mapping: main.map}]\n",
		"int-a.yaml": "version: 1\nconnections: {erp: {kind: sqltable, dsn: \"sqlite:erp.db\"}}\nintegrations: [{name: a, external: erp, mapping: a.map}]\n",
		"int-b.yaml": "integrations: [{name: b, external: crm, local: erp, mapping: b.map}]\n",
	})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, i := range c.Integrations {
		names = append(names, i.Name+" "+i.Local+" "+filepath.Base(i.Mapping))
		if !filepath.IsAbs(i.Mapping) {
			t.Errorf("mapping %s of %s is not relative to the file that names it", i.Mapping, i.Name)
		}
	}
	if got, want := strings.Join(names, ", "), "main local main.map, a local a.map, b erp b.map"; got != want {
		t.Errorf("integrations %s, want %s", got, want)
	}
	_, err = load(t, map[string]string{
		"kedge.yaml": crm + "include: [more.yaml]\n", "more.yaml": "connections: {crm: {kind: odata}}\n",
	})
	if want := "more.yaml:1:20: connections.crm: declared in another file already"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %q", err, want)
	}
	_, err = load(t, map[string]string{"kedge.yaml": "version: 1\ninclude: [more.yaml]\n", "more.yaml": "store: {dsn: x}\n"})
	if err == nil || !strings.Contains(err.Error(), "more.yaml:1:1: unknown key store") {
		t.Errorf("error %v, want that an included file may not set the store", err)
	}
}

func TestReferencesAndSecrets(t *testing.T) {
	const password, token = "Sw0rdfish-in-env", "T0ken-in-file"
	t.Setenv("CRM_PASSWORD", password)
	t.Setenv("EMPTY", "")
	key := base64.StdEncoding.EncodeToString(make([]byte, 32))
	c, err := load(t, map[string]string{
		"kedge.yaml": `version: 1
store: {dsn: "postgres://u:plain-in-dsn@host/db", leaseTTL: 1d}
keys: [{id: k1, value: "` + key + `"}]
connections:
  a: {kind: odata, url: "https://${HOST:-crm.example}/", auth: {type: basic, username: me, password: "${CRM_PASSWORD}"}}
  b: {kind: odata, url: "https://b.example/", auth: {type: bearer, token: "file:token"}, headers: {X: "x-${EMPTY:-y}"}}
`, "token": token + "\n",
	})
	if err != nil {
		t.Fatal(err)
	}
	if c.Store.LeaseTTL != Duration(24*time.Hour) {
		t.Errorf("leaseTTL = %v, want 1d", c.Store.LeaseTTL)
	}
	var a, b struct {
		URL     string
		Auth    struct{ Password, Token string }
		Headers map[string]string
	}
	if err := json.Unmarshal(c.Connections["a"].Block, &a); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(c.Connections["b"].Block, &b); err != nil {
		t.Fatal(err)
	}
	if a.URL != "https://crm.example/" || a.Auth.Password != password || b.Auth.Token != token || b.Headers["X"] != "x-y" {
		t.Errorf("references were resolved to %+v and %+v", a, b)
	}
	text, err := c.Print()
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{password, token, "plain-in-dsn", key} {
		if strings.Contains(string(text), secret) {
			t.Errorf("config print shows %q:\n%s", secret, text)
		}
	}
	if !strings.Contains(string(text), "***") || !strings.Contains(string(text), "username: me") {
		t.Errorf("config print hides the wrong things:\n%s", text)
	}
}

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"90s": 90 * time.Second, "15m": 15 * time.Minute, "168h": 168 * time.Hour, "7d": 168 * time.Hour, "10y": 87600 * time.Hour, "0s": 0,
	} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("ParseDuration(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "7", "-1s", "-1d", "1.5d", "999y", "d", "soon"} {
		if d, err := ParseDuration(text); err == nil {
			t.Errorf("ParseDuration(%q) = %v, want an error", text, d)
		}
	}
}

func TestFileLimit(t *testing.T) {
	pad := func(n int) string { return "version: 1\n#" + strings.Repeat("x", n-len("version: 1\n#")) }
	if _, err := load(t, map[string]string{"kedge.yaml": pad(maxFile)}); err != nil {
		t.Errorf("a file of the greatest size is refused: %v", err)
	}
	if _, err := load(t, map[string]string{"kedge.yaml": pad(maxFile + 1)}); err == nil || !strings.Contains(err.Error(), "larger than 4 MiB") {
		t.Errorf("a file one byte too large: %v", err)
	}
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte(crm))
	f.Add([]byte("version: 1\nstore: {dsn: \"sqlite:${A:-b}.db\", leaseTTL: 7d}\nkeys: []\n"))
	f.Add([]byte("version: 1\nintegrations: [{name: a, external: local, mapping: m}]\n"))
	f.Add([]byte("a: &a [*a]\n"))
	f.Fuzz(func(t *testing.T, src []byte) {
		f2, err := parse("kedge.yaml", src)
		if err != nil {
			if kedge.KindOf(err) != kedge.Invalid {
				t.Errorf("error of kind %v: %v", kedge.KindOf(err), err)
			}
			return
		}
		c := new(Config)
		if err := f2.decode(c); err != nil {
			return
		}
		c.files = []*file{f2}
		c.fill()
		if c.check() == nil {
			if _, err := c.Print(); err != nil {
				t.Errorf("a config that was read cannot be printed: %v", err)
			}
		}
	})
}

package store_test

import (
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

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "notes.txt")
	if err := os.WriteFile(text, []byte(strings.Repeat("not a database. ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	pg, err := url.Parse(storetest.PostgresDSN(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, dsn, text string
		want            kedge.Kind
	}{
		{"no scheme", "kedge.db", `neither "sqlite:" nor "postgres://"`, kedge.Invalid},
		{"empty", "", `neither "sqlite:" nor "postgres://"`, kedge.Invalid},
		{"other scheme", "mysql://root:s3cret@h/db", `neither "sqlite:" nor "postgres://"`, kedge.Invalid},
		{"no file", "sqlite:", "names no file", kedge.Invalid},
		{"memory", "sqlite::memory:", "name a file", kedge.Invalid},
		{"memory as URI", "sqlite:file::memory:?cache=shared", "name a file", kedge.Invalid},
		{"options", "sqlite:" + dir + "/a.db?mode=ro", "takes no options", kedge.Invalid},
		{"no directory", "sqlite:" + dir + "/no/kedge.db", "its directory does not exist", kedge.NotFound},
		{"a directory", "sqlite:" + dir, "is not a file", kedge.Invalid},
		{"a text file", "sqlite:" + text, "file is not a database", kedge.Invalid},
		{"bad URL", "postgres://kedge:s3cret%@h/db", "percent-encoded", kedge.Invalid},
		{"bad port", "postgres://kedge:s3cret@h:port/db", "percent-encoded", kedge.Invalid},
		{"prefer", "postgres://kedge:s3cret@h/db?sslmode=prefer", "verify-full", kedge.Invalid},
		{"bad sslmode", "postgres://kedge:s3cret@h/db?sslmode=yes", "sslmode 'yes' is not supported", kedge.Invalid},
		{"no CA file", "postgres://kedge:s3cret@h/db?sslrootcert=" + dir + "/no.pem", "no.pem", kedge.Invalid},
		{"nobody listens", "postgres://kedge:s3cret@" + closed.Addr().String() + "/db?sslmode=disable", "refused", kedge.Transient},
		{"no TLS", "postgres://kedge:s3cret@" + pg.Host + "/db", "add sslmode=disable", kedge.Invalid},
		{"no such database", "postgres://postgres:s3cret@" + pg.Host + "/absent?sslmode=disable", "does not exist", kedge.NotFound},
		{"no such user", "postgres://kedge:s3cret@" + pg.Host + "/postgres?sslmode=disable", "does not exist", kedge.Unauthorized},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := store.Open(t.Context(), tt.dsn, nil)
			if err == nil {
				s.Close()
				t.Fatal("no error")
			}
			if got := kedge.KindOf(err); got != tt.want || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("kind %v, text %q, want %v, %q", got, err, tt.want, tt.text)
			}
			if strings.Contains(err.Error(), "s3cret") {
				t.Errorf("the text shows the password: %q", err)
			}
		})
	}
}

func TestOpenSQLite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "Müller & Söhne 100%")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "kedge.db")
	s := storetest.Open(t, "sqlite:"+path, things)
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "busy_timeout": "10000", "foreign_keys": "0"} {
		var got string
		if err := s.DB().QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s = %q, %v, want %s", pragma, got, err, want)
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o600 {
		t.Errorf("permissions %o, want 600", got)
	}
	again, err := store.Open(t.Context(), "sqlite://"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if got := count(t, again); got != 0 {
		t.Errorf("%d rows, want 0", got)
	}
}

func TestOpenRelativePath(t *testing.T) {
	t.Chdir(t.TempDir())
	s := storetest.Open(t, "sqlite:kedge.db", things)
	t.Chdir(t.TempDir())
	if got := count(t, s); got != 0 {
		t.Errorf("%d rows, want 0", got)
	}
	if entries, err := os.ReadDir("."); err != nil || len(entries) > 0 {
		t.Errorf("the new folder holds %v, %v, want nothing", entries, err)
	}
}

func TestLeaseTTL(t *testing.T) {
	for _, tt := range []struct {
		ttl time.Duration
		ok  bool
	}{{0, true}, {time.Second, true}, {time.Second - 1, false}, {-time.Second, false}} {
		s, err := store.Open(t.Context(), storetest.SQLiteDSN(t), &store.Options{LeaseTTL: tt.ttl})
		if (err == nil) != tt.ok {
			t.Errorf("leaseTTL %v: %v, want ok %v", tt.ttl, err, tt.ok)
		}
		if err == nil {
			s.Close()
		}
	}
}

// A DSN as for libpq: the folder of the socket, and the port.
func TestOpenUnixSocket(t *testing.T) {
	direct := storetest.PostgresDSN(t)
	var dir, port string
	err := second(t, direct).DB().QueryRowContext(t.Context(),
		"SELECT split_part(current_setting('unix_socket_directories'), ',', 1), current_setting('port')").Scan(&dir, &port)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, ".s.PGSQL."+port)); err != nil {
		t.Skipf("the server of KEDGE_TEST_POSTGRES has no socket on this machine: %v", err)
	}
	u, err := url.Parse(direct)
	if err != nil {
		t.Fatal(err)
	}
	for _, query := range []string{
		"host=" + dir + "&port=" + port,
		"host=" + filepath.Join(dir, ".s.PGSQL."+port),
	} {
		s, err := store.Open(t.Context(), "postgres://"+u.User.String()+"@"+u.Path+"?"+query, nil)
		if err != nil {
			t.Errorf("%s: %v", query, err)
			continue
		}
		s.Close()
	}
}

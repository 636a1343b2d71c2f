// Package pgcluster starts private PostgreSQL servers from the installed
// binaries, for tests and benchmarks.
package pgcluster

import (
	"bufio"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
)

// cluster.sh makes a cluster in a directory, prints "ready" and stops the
// server when its input ends, which also happens when this process is killed.
//
//go:embed cluster.sh
var clusterScript string

// lifelines are the inputs of the scripts. They must stay reachable: the
// garbage collector closes files that are not.
var lifelines struct {
	sync.Mutex
	all []io.WriteCloser
}

// A Durability says what a server does about a loss of power.
type Durability string

// The durabilities.
const (
	Fast    Durability = "fast"    // nothing, which is right for tests
	Durable Durability = "durable" // what PostgreSQL does by default: a commit waits for the disk
)

// Start starts a private server and returns the DSN of its superuser. Nothing
// waits for its end: when this process ends, however it ends, the server is
// stopped and its directory removed.
func Start(d Durability) (string, error) {
	bin, err := postgresBinaries()
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "kedge-pg-")
	if err != nil {
		return "", err
	}
	attr, err := unprivileged(dir)
	if err != nil {
		return "", err
	}
	port, err := freePort()
	if err != nil {
		return "", err
	}
	cmd := exec.Command("sh", "-c", clusterScript, "sh", bin, dir, strconv.Itoa(port), string(d))
	cmd.Dir, cmd.SysProcAttr = dir, attr
	lifeline, err := cmd.StdinPipe()
	if err != nil {
		return "", err
	}
	lifelines.Lock()
	lifelines.all = append(lifelines.all, lifeline)
	lifelines.Unlock()
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		log, _ := os.ReadFile(filepath.Join(dir, "log"))
		return "", fmt.Errorf("PostgreSQL from %s did not start (%v): %s", bin, err, log)
	}
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", port), nil
}

// postgresBinaries returns the folder of initdb, the newest of Debian's or the
// one of PATH.
func postgresBinaries() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil {
		return "", err
	}
	if len(found) > 0 {
		version := func(path string) int {
			n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
			return n
		}
		newest := slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })
		return filepath.Dir(newest), nil
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path), nil
	}
	return "", errors.New("no PostgreSQL here; run: apt-get install postgresql (or set KEDGE_TEST_POSTGRES to the DSN of a superuser)")
}

// freePort returns a port of loopback that was free a moment ago.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

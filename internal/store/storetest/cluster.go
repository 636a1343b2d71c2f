package storetest

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
)

// cluster.sh makes a cluster in a directory, prints "ready" and stops the
// server when its input ends, which also happens when the test is killed.
//
//go:embed cluster.sh
var clusterScript string

// lifeline is the script's input. It must stay reachable: the garbage collector
// closes files that are not.
var lifeline io.WriteCloser

// startCluster starts a private server and returns its DSN. Nothing waits for
// its end: when this process ends, the script stops the server and removes the
// directory.
func startCluster() (string, error) {
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
	cmd := exec.Command("sh", "-c", clusterScript, "sh", bin, dir, strconv.Itoa(port))
	cmd.Dir, cmd.SysProcAttr = dir, attr
	if lifeline, err = cmd.StdinPipe(); err != nil {
		return "", err
	}
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

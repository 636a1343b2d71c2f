package odatatest

import (
	"net"
	"net/http"
)

// TB is the part of testing.TB that Start needs.
type TB interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
}

// Start serves s on a free port of loopback until the test ends and returns
// the URL of the service root, with a slash.
func (s *Service) Start(tb TB) (url string) {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("odatatest: listen: %v", err)
	}
	server := &http.Server{Handler: s.Handler()}
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.Serve(l) // ends with ErrServerClosed
	}()
	tb.Cleanup(func() {
		server.Close()
		<-done
	})
	return "http://" + l.Addr().String() + s.root
}

//go:build !cgosqlite && ((darwin && amd64) || (darwin && arm64) || (linux && 386) || (linux && amd64) || (linux && arm) || (linux && arm64) || (windows && amd64))

package store

import "modernc.org/libc"

// init takes one piece of memory of each middle size for good. The driver's
// allocator gives a block back to the system with the last piece in it, and
// SQLite asks for single pieces of these sizes whenever it splits a page, which
// takes less time than the two system calls. The constraint is that of
// sqliteshim for this driver.
func init() {
	tls := libc.NewTLS()
	libc.Xmalloc(tls, 1<<10)
	libc.Xmalloc(tls, 2<<10)
	libc.Xmalloc(tls, 4<<10)
	libc.Xmalloc(tls, 8<<10)
	libc.Xmalloc(tls, 16<<10)
}

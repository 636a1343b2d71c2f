package sqltable

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/store"
)

// pools shares one open database per DSN. A database is opened when it is
// first needed and closed when its last user is.
type pools struct {
	views Views // of kedge's own database, or nil

	mu   sync.Mutex
	open map[string]*pool
}

type pool struct {
	mu    sync.Mutex // held while opening
	users int        // guarded by pools.mu
	store *store.Store
}

func (p *pools) join(dsn string) *pool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open == nil {
		p.open = map[string]*pool{}
	}
	if p.open[dsn] == nil {
		p.open[dsn] = &pool{}
	}
	p.open[dsn].users++
	return p.open[dsn]
}

func (p *pools) leave(dsn string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := p.open[dsn]
	if at.users--; at.users > 0 {
		return nil
	}
	delete(p.open, dsn)
	at.mu.Lock()
	defer at.mu.Unlock()
	if at.store == nil {
		return nil
	}
	return at.store.Close()
}

// get opens the database if it is not open yet.
func (p *pool) get(ctx context.Context, dsn string) (*store.Store, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.store != nil {
		return p.store, nil
	}
	// Opening would make a file that is missing, and hide a wrong path.
	if path, ok := strings.CutPrefix(dsn, "sqlite:"); ok {
		path, _, _ = strings.Cut(strings.TrimPrefix(path, "//"), "?")
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return nil, &kedge.Error{Op: "sqltable.Open", Kind: kedge.NotFound, Err: fmt.Errorf("the SQLite file %s does not exist; kedge makes none but its own", path)}
		}
	}
	s, err := store.Open(ctx, dsn, nil)
	if err != nil {
		return nil, err
	}
	p.store = s
	return s, nil
}

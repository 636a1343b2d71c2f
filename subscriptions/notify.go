package subscriptions

import (
	"context"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/driver/pgdriver"

	"github.com/kedge-sync/kedge/internal/store"
)

// channel wakes the workers of other processes, on PostgreSQL. It is never
// used in the transactions of producers: it takes a lock of the whole server
// while they commit.
const channel = "kedge_push"

// tellOthers wakes the workers of all processes once tx has committed.
func (s *Service) tellOthers(ctx context.Context, tx bun.IDB) error {
	store.OnCommit(ctx, s.signal)
	if s.db.Engine() != store.Postgres {
		return nil
	}
	_, err := exec(ctx, tx, "NOTIFY "+channel)
	return err
}

// listenLoop hears what other processes tell. Without it, workers look for
// themselves every now and then.
func (s *Service) listenLoop(ctx context.Context) {
	if s.db.Engine() != store.Postgres {
		return
	}
	ln := pgdriver.NewListener(s.db.DB())
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() }) // Receive does not heed the context
	defer stop()
	for ctx.Err() == nil {
		err := ln.Listen(ctx, channel)
		for err == nil {
			s.signal() // also at first: what was told before is lost
			_, _, err = ln.Receive(ctx)
		}
		sleep(ctx, time.Second)
	}
}

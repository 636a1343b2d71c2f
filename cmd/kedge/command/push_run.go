package command

import (
	"context"
	"sync"

	"github.com/uptrace/bun"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/syncer"
)

// A runPublisher is the push subscriptions for runs. They are loaded when the
// first run writes records, for most commands never get there.
type runPublisher struct {
	a  *app
	mu sync.Mutex
}

// runPublisher returns nil if the config has no section subscriptions.
func (a *app) runPublisher() syncer.Publisher {
	if a.cfg.Subscriptions == nil {
		return nil
	}
	return &runPublisher{a: a}
}

func (p *runPublisher) load(ctx context.Context) (*pusher, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.a.publisher(ctx, p.a.logger(), nil)
}

// Interest returns which fields of events are needed.
func (p *runPublisher) Interest(ctx context.Context, tx bun.IDB, entity string) (kedge.Interest, error) {
	s, err := p.load(ctx)
	if err != nil {
		return kedge.Interest{}, err
	}
	return s.Interest(ctx, tx, entity)
}

// Publish stores events.
func (p *runPublisher) Publish(ctx context.Context, tx bun.IDB, events ...kedge.Event) error {
	s, err := p.load(ctx)
	if err != nil {
		return err
	}
	return s.Publish(ctx, tx, events...)
}

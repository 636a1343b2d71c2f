package memory_test

import (
	"context"
	"testing"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/conntest"
	"github.com/kedge-sync/kedge/connectors/memory"
)

// A system is a store as the kit wants it.
type system struct{ *memory.Store }

func (s system) Driver() connectors.Driver { return memory.New(s.Store) }

// Hold needs no transaction: a store numbers a write when it is visible.
func (s system) Hold(ctx context.Context, entity string, r kedge.Record) (func() error, error) {
	return func() error { return s.Put(ctx, entity, r) }, nil
}

func TestConformance(t *testing.T) {
	const (
		noWire = "there is no wire that could fail"
		noTx   = "a store is not in kedge's own database"
	)
	conntest.Run(t, conntest.Harness{
		Start: func(testing.TB) conntest.System {
			return system{memory.NewStore(conntest.Widgets, conntest.Parts)}
		},
		Lacks: map[string]string{
			"delta/ErrorKeepsAnchor": noWire,
			"write/LostReply":        noWire,
			"tx/Rollback":            noTx,
			"tx/Neighbours":          noTx,
			"tx/OneBadKeepsTx":       noTx,
			"life/ErrorKinds":        noWire,
			"life/RetryAfter":        noWire,
			"life/NoSecretInErrors":  noWire,
			"life/Close":             "a driver holds nothing to close",
		},
	})
}

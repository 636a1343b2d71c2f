package sqltable

import (
	"context"
	"database/sql"
	"maps"
	"slices"

	"github.com/kedge-sync/kedge/connectors/sqltable/catalog"
	"github.com/kedge-sync/kedge/connectors/sqltable/trigger"
)

func (in *installer) sqliteTriggers(ctx context.Context, listeners map[string]listener) (func(context.Context) error, bool, error) {
	prefix := trigger.Prefix(in.e.noted())
	have := map[string]string{}
	err := catalog.Each(ctx, in.q, "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND substr(name, 1, ?) = ?", []any{len(prefix), prefix}, func(rows *sql.Rows) error {
		var name, text string
		err := rows.Scan(&name, &text)
		have[name] = text
		return err
	})
	if err != nil {
		return nil, false, err
	}
	var drop, make []string
	broken := false
	for _, t := range in.set(listeners).SQLite() {
		text, ok := have[t.Name]
		broken = broken || !ok
		delete(have, t.Name)
		if text == t.SQL {
			continue
		}
		if ok {
			drop = append(drop, "DROP TRIGGER "+t.Name)
		}
		make = append(make, t.SQL)
	}
	for _, name := range slices.Sorted(maps.Keys(have)) {
		drop = append(drop, "DROP TRIGGER "+catalog.Quote(in.engine, name))
	}
	if len(drop)+len(make) == 0 {
		return nil, false, nil
	}
	return in.exec(append(drop, make...)), broken, nil
}

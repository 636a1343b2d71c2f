package sqltable_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/sqltable"
	"github.com/kedge-sync/kedge/internal/store"
)

// What a transaction wrote that is rolled back is not noted, and neither is
// who wrote it.
func TestRollbackLeavesNoNotes(t *testing.T) {
	eachCapture(t, func(t *testing.T, c *captured) {
		c.listen("x: a b")
		x := c.reader("x")
		fault := errors.New("fault")
		err := c.store.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			if _, err := tx.Conn().Conn.ExecContext(ctx, "INSERT INTO doc (k) VALUES ('1')"); err != nil {
				return err
			}
			return errors.Join(fault, origin(ctx, tx, c.driver("x")))
		})
		if !errors.Is(err, fault) {
			t.Fatal(err)
		}
		x.want(nil, "rolled back")
		if n := c.noted(); n != 0 {
			t.Errorf("%d notes", n)
		}
		// What is written beside WriteTx in its transaction is nobody's.
		err = c.store.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			if err := origin(ctx, tx, c.driver("x")); err != nil {
				return err
			}
			_, err := tx.Conn().Conn.ExecContext(ctx, "INSERT INTO doc (k) VALUES ('2')")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		x.want([]string{"2=,"}, "after WriteTx, in its transaction")
		c.sql("UPDATE doc SET a = 1")
		x.want([]string{"2=1,", "own=1,"}, "after that transaction")
	})
}

// origin lets d write a row in tx.
func origin(ctx context.Context, tx *store.Tx, d *sqltable.Driver) error {
	_, err := d.WriteTx(ctx, tx, []kedge.Change{change(kedge.Upsert, "doc", "own", values{"a": kedge.Int(0)})})
	return err
}

// Ack deletes what was read, for one integration, and keeps what came after.
func TestAckKeepsTheRest(t *testing.T) {
	eachCapture(t, func(t *testing.T, c *captured) {
		c.listen("x: a, y: a")
		x, y := c.reader("x"), c.reader("y")
		c.sql("INSERT INTO doc (k, a) VALUES ('1', 1), ('2', 2), ('3', 3)")
		x.want([]string{"1=1,", "2=2,", "3=3,"}, "before Ack")
		early := *x
		c.sql("INSERT INTO doc (k, a) VALUES ('4', 4)")
		x.ack()
		if n := c.noted(); n != 5 { // 3 and 4 of y, and one that x has yet to read
			t.Errorf("%d notes after Ack, want 5", n)
		}
		x.ack()
		x.want([]string{"4=4,"}, "after Ack")
		x.ack()
		early.ack() // late
		if n := c.noted(); n != 4 {
			t.Errorf("%d notes after the second Ack, want the 4 of y", n)
		}
		y.want([]string{"1=1,", "2=2,", "3=3,", "4=4,"}, "the other integration")
		early.wantExpired("an anchor before what was acknowledged")
		c.sql("UPDATE doc SET a = 5 WHERE k = '1'")
		x.want([]string{"1=5,"}, "numbers of deleted notes do not come back")
	})
}

// Whatever hides changes from the triggers expires the anchors.
func TestMissedChangesExpireAnchors(t *testing.T) {
	eachCapture(t, func(t *testing.T, c *captured) {
		c.listen("x: a")
		x := c.reader("x")
		c.sql("INSERT INTO doc (k, a) VALUES ('1', 1)")
		x.want([]string{"1=1,"}, "at first")
		c.listen("x: a")
		c.listen("y: b")
		c.sql("UPDATE doc SET a = 2")
		x.want([]string{"1=2,"}, "when others come")

		c.listen("x: a b")
		x.wantExpired("a field that was not listened to")
		c.listen("x: a")
		c.listen("y:")
		c.sql("UPDATE doc SET a = 3, b = 'b'")
		x.want([]string{"1=3,b"}, "when fields and others go")

		c.listen("x:")
		c.sql("UPDATE doc SET a = 4")
		c.listen("x: a")
		x.wantExpired("nobody listened meanwhile")

		if c.store.Engine() == store.Postgres {
			c.sql("TRUNCATE doc")
			x.wantExpired("TRUNCATE")
			x.ack()
			c.sql("INSERT INTO doc (k, a) VALUES ('1', 1)")
			x.want([]string{"1=1,"}, "after TRUNCATE")
		}
		c.sql("DROP TABLE doc")
		create(t, open(t, c.store, ""), noteEntity)
		c.sql("INSERT INTO doc (k, a) VALUES ('9', 9)")
		c.listen("x: a")
		x.wantExpired("another table")
		c.sql("UPDATE doc SET a = 10")
		x.want([]string{"9=10,"}, "of the other table")
	})
}

// A column that goes stops neither the other programs nor the integration.
func TestColumnsGo(t *testing.T) {
	eachCapture(t, func(t *testing.T, c *captured) {
		c.sql("ALTER TABLE doc ADD COLUMN z integer")
		c.listen("x: a b z nope")
		x := c.reader("x")
		c.sql("ALTER TABLE doc RENAME COLUMN z TO zz")
		c.sql("INSERT INTO doc (k, a) VALUES ('1', 1)")
		c.sql("UPDATE doc SET zz = 2")
		if c.store.Engine() == store.Postgres {
			x.wantExpired("a trigger that compares a column that went")
			c.sql("ALTER TABLE doc DROP COLUMN zz")
			c.sql("UPDATE doc SET a = 2")
			x.wantExpired("again")
		} else {
			x.want([]string{"1=1,"}, "SQLite renames columns in triggers")
		}
		c.listen("x: a b z nope")
		c.sql("UPDATE doc SET a = 7")
		x.want([]string{"1=7,"}, "after the next run began")
	})
}

func TestSilentListenersEnd(t *testing.T) {
	eachCapture(t, func(t *testing.T, c *captured) {
		c.listen("x: a, y: a")
		x, y := c.reader("x"), c.reader("y")
		c.sql("INSERT INTO doc (k, a) VALUES ('1', 1)")
		for _, step := range []struct{ days, notes int }{{29, 2}, {31, 1}} {
			c.at(step.days, "x: a")
			if n := c.noted(); n != step.notes {
				t.Errorf("%d notes after %d days, want %d", n, step.days, step.notes)
			}
		}
		x.want([]string{"1=1,"}, "the one that was not silent")
		c.listen("y: a")
		y.wantExpired("the silent one")
	})
}

// at calls SetListeners some days from now.
func (c *captured) at(days int, text string) {
	c.t.Helper()
	name, fields, _ := strings.Cut(text, ":")
	now := func() time.Time { return time.Now().AddDate(0, 0, days) }
	d, err := c.kind.New([]byte(c.block), connectors.Env{Name: "local", Store: c.own, Now: now})
	if err != nil {
		c.t.Fatal(err)
	}
	defer d.(*sqltable.Driver).Close()
	if err := setListeners(c.t.Context(), c.own, d.(*sqltable.Driver), "doc", map[string][]string{name: strings.Fields(fields)}); err != nil {
		c.t.Fatal(err)
	}
}

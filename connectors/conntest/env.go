package conntest

import (
	"context"
	"fmt"
	"io"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
)

// A cannotRun says why a check does not apply to a system.
type cannotRun struct{ reason string }

func (e *cannotRun) Error() string { return e.reason }

func cannot(format string, args ...any) error {
	return &cannotRun{fmt.Sprintf(format, args...)}
}

// An env is what a check works with: a fresh system and drivers for it.
type env struct {
	sys     System
	drivers []connectors.Driver
}

// driver returns the first driver of the check.
func (e *env) driver() connectors.Driver {
	if len(e.drivers) == 0 {
		return e.another()
	}
	return e.drivers[0]
}

// another returns a new driver, which knows nothing of the others.
func (e *env) another() connectors.Driver {
	d := e.sys.Driver()
	e.drivers = append(e.drivers, d)
	return d
}

func (e *env) close() {
	for _, d := range e.drivers {
		if c, ok := d.(io.Closer); ok {
			c.Close() // what it returns is the concern of life/Close
		}
	}
}

// entity returns what the system says about the named entity.
func (e *env) entity(ctx context.Context, name string) (*kedge.Entity, error) {
	s, err := e.driver().Schema(ctx)
	if err != nil {
		return nil, fmt.Errorf("read schema: %w", err)
	}
	if ent := s.Entity(name); ent != nil {
		return ent, nil
	}
	return nil, fmt.Errorf("schema has no entity %s", name)
}

// withDelta is the entity widgets, or a cannotRun without Delta.
func (e *env) withDelta(ctx context.Context) (*kedge.Entity, error) {
	ent, err := e.entity(ctx, Widgets.Name)
	if err == nil && !ent.Delta {
		err = cannot("widgets has no Delta")
	}
	return ent, err
}

func (e *env) put(ctx context.Context, records ...kedge.Record) error {
	return e.putTo(ctx, Widgets.Name, records...)
}

func (e *env) putTo(ctx context.Context, entity string, records ...kedge.Record) error {
	return outside("Put", e.sys.Put(ctx, entity, records...))
}

func (e *env) delete(ctx context.Context, keys ...kedge.Key) error {
	return outside("Delete", e.sys.Delete(ctx, Widgets.Name, keys...))
}

// outside explains an error of the harness: Unsupported means that the system
// cannot do or hold what the check needs.
func outside(op string, err error) error {
	switch {
	case err == nil:
		return nil
	case kedge.KindOf(err) == kedge.Unsupported:
		return cannot("%s: %v", op, err)
	}
	return fmt.Errorf("harness: %s: %w", op, err)
}

var (
	widgetFields = fieldsOf(&Widgets)
	partFields   = fieldsOf(&Parts)
)

func fieldsOf(e *kedge.Entity) *kedge.Fields {
	names := make([]string, len(e.Fields))
	for i, f := range e.Fields {
		names[i] = f.Name
	}
	return kedge.NewFields(names...)
}

// set is a value for a field of a record.
func set(name string, v kedge.Value) connectors.Named { return connectors.Named{Name: name, Value: v} }

// widget returns a widget with the given values; the others are missing.
func widget(id string, values ...connectors.Named) kedge.Record {
	r := kedge.Record{Fields: widgetFields, Values: make([]kedge.Value, widgetFields.Len())}
	for _, n := range append(values, set("id", kedge.String(id))) {
		r.Values[widgetFields.Index(n.Name)] = n.Value
	}
	r.Key = kedge.NewKey(r.Get("id"))
	return r
}

func part(no string, line int64) kedge.Record {
	key := kedge.NewKey(kedge.String(no), kedge.Int(line))
	return kedge.Record{Fields: partFields, Values: []kedge.Value{kedge.String(no), kedge.Int(line), kedge.String("part")}, Key: key}
}

// widgetID is the id of widget i of many: w0001, w0002, …
func widgetID(i int) string { return fmt.Sprintf("w%04d", i) }

// widgets returns widgets from to to, whose field int is their number.
func widgets(from, to int) []kedge.Record {
	var records []kedge.Record
	for i := from; i <= to; i++ {
		records = append(records, widget(widgetID(i), set("int", kedge.Int(int64(i))), set("string", kedge.String("widget"))))
	}
	return records
}

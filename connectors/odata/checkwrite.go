package odata

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
)

// CheckWrite makes a record of an entity, changes it with a fresh and with a
// stale version, and deletes it again.
func (d *Driver) CheckWrite(ctx context.Context, name string) ([]connectors.Proof, error) {
	w, err := d.newWriter(ctx, name)
	if err != nil {
		return nil, inEntity(err, "odata.CheckWrite", name)
	}
	c := &writeCheck{d: d, ctx: ctx, e: w.e}
	if why := c.sample(); why != "" {
		return []connectors.Proof{{Name: "insert", Result: "not tested", Reason: why}}, nil
	}
	if c.prove("insert", c.insert) {
		c.prove("update", c.update)
		c.prove("stale", c.stale)
		c.prove("delete", c.remove)
	}
	return c.proofs, nil
}

// A writeCheck is one call of CheckWrite.
type writeCheck struct {
	d      *Driver
	ctx    context.Context
	e      *entity
	record kedge.Change // the record that is made
	field  string       // a field that can be changed; "" if there is none
	key    kedge.Key
	first  string // its version when it was made
	last   string
	proofs []connectors.Proof
}

// prove runs one test and notes its proof.
func (c *writeCheck) prove(name string, test func() (result, reason string, err error)) bool {
	p := connectors.Proof{Name: name}
	var err error
	p.Result, p.Reason, err = test()
	if p.OK = err == nil; err != nil {
		p.Result, p.Reason = "failed", join(p.Reason, causeText(err))
	}
	c.proofs = append(c.proofs, p)
	return p.OK
}

// sample makes up a record: a key, and the fields that must have a value. It
// tells why it cannot.
func (c *writeCheck) sample() string {
	var names []string
	var values []kedge.Value
	mark := "kedge" + strings.ToLower(rand.Text()[:8])
	for i := range c.e.info.Fields {
		f := &c.e.info.Fields[i]
		isKey := slices.Contains(c.e.info.Key, f.Name)
		free := !f.Computed && !f.ReadOnly && !f.Immutable && !isKey && len(f.Lookup) == 0 && f.Format != kedge.FormatEnum
		if free && c.field == "" && f.Type == kedge.TypeString && f.Format == kedge.FormatNone {
			c.field = f.Name
		}
		if f.Computed || f.ReadOnly || f.Nullable && !isKey && f.Name != c.field {
			continue
		}
		if len(f.Lookup) > 0 {
			return "a record needs " + f.Name + ", which points to another record; take another entity"
		}
		v, ok := sampleValue(f, mark)
		if isKey && f.Type == kedge.TypeInt {
			v = kedge.Int(1_000_000_000 + time.Now().UnixNano()%1_000_000_000) // an own number, also in 32 bits
		}
		if !ok {
			return "a record needs " + f.Name + ", for which no value can be made up; take another entity"
		}
		names, values = append(names, f.Name), append(values, v)
	}
	c.record = kedge.Change{Op: kedge.Insert, Entity: c.e.info.Name, Fields: kedge.NewFields(names...), Values: values}
	return ""
}

// sampleValue makes up a value of a field; texts begin with mark.
func sampleValue(f *kedge.Field, mark string) (kedge.Value, bool) {
	switch f.Type {
	case kedge.TypeBool:
		return kedge.Bool(false), true
	case kedge.TypeInt:
		return kedge.Int(1), true
	case kedge.TypeFloat:
		return kedge.Float(0), true
	case kedge.TypeDecimal:
		return kedge.Decimal("0"), true
	case kedge.TypeDate:
		return kedge.Date(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)), true
	case kedge.TypeTime:
		return kedge.Time(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)), true
	case kedge.TypeString:
		switch {
		case f.Format == kedge.FormatGUID:
			return kedge.String(requestID(mark)), true
		case f.Format == kedge.FormatEnum && len(f.Enum) > 0:
			return kedge.String(f.Enum[0]), true
		case f.Format == kedge.FormatNone && (f.MaxLength == 0 || f.MaxLength >= len(mark)):
			return kedge.String(mark), true
		}
	}
	return kedge.Value{}, false
}

// write writes one change and returns its result.
func (c *writeCheck) write(ch kedge.Change) (connectors.Result, error) {
	results, err := c.d.Write(c.ctx, []kedge.Change{ch})
	if err != nil {
		return connectors.Result{}, err
	}
	if results[0].Err != nil {
		return results[0], results[0].Err
	}
	return results[0], nil
}

func (c *writeCheck) insert() (result, reason string, err error) {
	r, err := c.write(c.record)
	if err != nil {
		return "", "", err
	}
	c.key, c.first, c.last = r.Key, r.Version, r.Version
	if c.first == "" {
		return "done", "the answer has no version", nil
	}
	return "done", "made a record", nil
}

// change changes the record if it has the version.
func (c *writeCheck) change(version, text string) (connectors.Result, error) {
	return c.write(kedge.Change{Op: kedge.Update, Entity: c.e.info.Name, Key: c.key, Version: version,
		Fields: kedge.NewFields(c.field), Values: []kedge.Value{kedge.String(text)}})
}

func (c *writeCheck) update() (result, reason string, err error) {
	if c.field == "" {
		return "not tested", "there is no text that can be changed", nil
	}
	r, err := c.change(c.first, "kedge1")
	if err != nil {
		return "", "", err
	}
	c.last = r.Version
	got, err := c.text()
	if err == nil && got != "kedge1" {
		err = errors.New("the change was accepted, but the record does not have it")
	}
	return "done", "changed a field of the record", err
}

// stale changes the record with a version that it has no more.
func (c *writeCheck) stale() (result, reason string, err error) {
	if c.field == "" || c.first == "" {
		return "not tested", "there is no version to test with", nil
	}
	if c.first == c.last {
		return "", "", errors.New("the version of the record did not change with it")
	}
	_, err = c.change(c.first, "kedge2")
	switch {
	case err == nil:
		return "", "", errors.New("a change with a stale version was accepted, so a conflict would not be noticed")
	case kedge.KindOf(err) != kedge.Conflict:
		return "", "", err
	}
	got, err := c.text()
	if err == nil && got != "kedge1" {
		err = errors.New("a refused change was carried out")
	}
	return "refused", "a change with a stale version is refused", err
}

// text reads the field that was changed.
func (c *writeCheck) text() (string, error) {
	found, err := c.d.ReadKeys(c.ctx, c.e.info.Name, []string{c.field}, []kedge.Key{c.key})
	if err != nil || !found[0].OK {
		return "", errors.Join(err, errGone)
	}
	return found[0].Record.Get(c.field).Str(), nil
}

func (c *writeCheck) remove() (result, reason string, err error) {
	left := fmt.Sprintf("the record %q is left behind; delete it", c.key)
	if _, err := c.write(kedge.Change{Op: kedge.Delete, Entity: c.e.info.Name, Key: c.key}); err != nil {
		return "", left, err
	}
	found, err := c.d.ReadKeys(c.ctx, c.e.info.Name, nil, []kedge.Key{c.key})
	if err == nil && found[0].OK {
		return "", left, errors.New("the deletion was accepted, but the record is still there")
	}
	return "done", "deleted the record", err
}

package conntest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
)

var schemaChecks = []check{
	{"schema/Stable", schemaStable},
	{"schema/Sorted", schemaSorted},
	{"schema/Entities", schemaEntities},
	{"schema/KeysExist", schemaKeysExist},
	{"schema/LookupTargets", schemaLookupTargets},
	{"schema/NoRecordRead", schemaNoRecordRead},
	{"schema/UnknownEntity", schemaUnknownEntity},
	{"schema/UnknownField", schemaUnknownField},
	{"schema/Refresh", schemaRefresh},
}

func schemaStable(ctx context.Context, e *env) error {
	first, err := e.driver().Schema(ctx)
	if err != nil {
		return err
	}
	if first.Hash == "" {
		return errors.New("the schema has no hash")
	}
	if err := e.put(ctx, widgets(1, 20)...); err != nil {
		return err
	}
	second, err := e.another().Schema(ctx)
	if err != nil {
		return err
	}
	return sameSchema("another driver, after records were written", first, second)
}

func sameSchema(when string, a, b *kedge.Schema) error {
	if a.Hash != b.Hash || !reflect.DeepEqual(a.Entities, b.Entities) {
		return fmt.Errorf("the schema of %s differs (hash %s, then %s)", when, a.Hash, b.Hash)
	}
	return nil
}

func schemaSorted(ctx context.Context, e *env) error {
	s, err := e.driver().Schema(ctx)
	if err != nil {
		return err
	}
	for i := range s.Entities {
		if i > 0 && s.Entities[i-1].Name >= s.Entities[i].Name {
			return fmt.Errorf("entity %s comes after %s", s.Entities[i].Name, s.Entities[i-1].Name)
		}
		seen := map[string]bool{}
		for _, f := range s.Entities[i].Fields {
			if seen[f.Name] {
				return fmt.Errorf("%s has the field %s twice", s.Entities[i].Name, f.Name)
			}
			seen[f.Name] = true
		}
	}
	return nil
}

func schemaEntities(ctx context.Context, e *env) error {
	for _, want := range []*kedge.Entity{&Widgets, &Parts} {
		got, err := e.entity(ctx, want.Name)
		if err != nil {
			return err
		}
		if !slices.Equal(got.Key, want.Key) {
			return fmt.Errorf("%s: key %v, want %v", want.Name, got.Key, want.Key)
		}
		for _, w := range want.Fields {
			f := got.Field(w.Name)
			if f == nil {
				return fmt.Errorf("%s has no field %s", want.Name, w.Name)
			}
			if f.Type != w.Type || f.Format != w.Format || f.Nullable != w.Nullable {
				return fmt.Errorf("%s.%s: type %v, format %q, nullable %v; want %v, %q, %v",
					want.Name, w.Name, f.Type, f.Format, f.Nullable, w.Type, w.Format, w.Nullable)
			}
		}
	}
	return nil
}

func schemaKeysExist(ctx context.Context, e *env) error {
	s, err := e.driver().Schema(ctx)
	if err != nil {
		return err
	}
	for i := range s.Entities {
		ent := &s.Entities[i]
		named := slices.Concat(append([][]string{ent.Key}, ent.AlternateKeys...)...)
		if ent.Version != "" {
			named = append(named, ent.Version)
		}
		for _, name := range named {
			if ent.Field(name) == nil {
				return fmt.Errorf("%s names %s as key or version, which is not a field", ent.Name, name)
			}
		}
	}
	return nil
}

func schemaLookupTargets(ctx context.Context, e *env) error {
	s, err := e.driver().Schema(ctx)
	if err != nil {
		return err
	}
	found := map[string]bool{}
	for _, ent := range s.Entities {
		for _, f := range ent.Fields {
			for _, l := range f.Lookup {
				if target := s.Entity(l.Entity); target == nil || target.Field(l.Field) == nil {
					return fmt.Errorf("%s.%s looks up %s.%s, which does not exist", ent.Name, f.Name, l.Entity, l.Field)
				}
				found[ent.Name+"."+f.Name+" "+l.Entity+"."+l.Field] = true
			}
		}
	}
	if len(found) == 0 {
		return cannot("the schema has no lookups")
	}
	for _, want := range []string{"widgets.partNo parts.No", "widgets.partLine parts.Line"} {
		if !found[want] {
			return fmt.Errorf("the lookup %q is not in the schema", want)
		}
	}
	return nil
}

func schemaNoRecordRead(ctx context.Context, e *env) error {
	if err := e.put(ctx, widgets(1, 3)...); err != nil {
		return err
	}
	before := e.sys.Calls()
	if before < 0 {
		return cannot("the system does not count requests for records")
	}
	if _, err := e.driver().Schema(ctx); err != nil {
		return err
	}
	if n := e.sys.Calls() - before; n != 0 {
		return fmt.Errorf("reading the schema made %d requests for records, want none", n)
	}
	return nil
}

func schemaUnknownEntity(ctx context.Context, e *env) error {
	_, err := e.driver().ReadPage(ctx, connectors.ReadRequest{Entity: "noSuchEntity", Size: 10})
	return wantKind("ReadPage of an unknown entity", err, kedge.NotFound)
}

func schemaUnknownField(ctx context.Context, e *env) error {
	_, err := e.driver().ReadPage(ctx, connectors.ReadRequest{Entity: Widgets.Name, Fields: []string{"id", "noSuchField"}, Size: 10})
	return wantKind("ReadPage of an unknown field", err, kedge.Invalid)
}

func schemaRefresh(ctx context.Context, e *env) error {
	conn := connectors.New(e.driver(), nil)
	first, err := conn.Schema(ctx)
	if err != nil {
		return err
	}
	second, err := conn.Refresh(ctx)
	if err != nil {
		return err
	}
	return sameSchema("a refresh", first, second)
}

// Package filtertest reads the cases that all readers of filters share: the
// files in testdata/filters. It is for tests.
package filtertest

import (
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/filter"
)

// A File is one file of cases: an entity, its records, and filters over them.
type File struct {
	Now     time.Time // for Bind
	Entity  kedge.Entity
	Records []kedge.Record // values in the order of Entity.Fields, null but never missing
	Cases   []Case
}

// A Case is a filter and what it gives. Keys are in ascending order.
type Case struct {
	Filter  string      `yaml:"filter"`
	Yes     []kedge.Key `yaml:"yes"`
	Unknown []kedge.Key `yaml:"unknown"`
}

// Want returns what the filter gives for the record with key k.
func (c *Case) Want(k kedge.Key) filter.Truth {
	switch {
	case slices.Contains(c.Yes, k):
		return filter.Yes
	case slices.Contains(c.Unknown, k):
		return filter.Unknown
	}
	return filter.No
}

// Bind parses the filter of c and binds it to the entity of f.
func (f *File) Bind(c *Case) (*filter.Expr, error) {
	e, err := filter.Parse(c.Filter)
	if err != nil {
		return nil, err
	}
	return e.Bind(&f.Entity, f.Now)
}

type document struct {
	Now    string      `yaml:"now"`
	Entity string      `yaml:"entity"`
	Key    []string    `yaml:"key"`
	Fields []field     `yaml:"fields"`
	Rows   [][]*string `yaml:"rows"`
	Cases  []Case      `yaml:"cases"`
}

type field struct {
	Name   string       `yaml:"name"`
	Type   string       `yaml:"type"`
	Format kedge.Format `yaml:"format"`
	Enum   []string     `yaml:"enum"`
}

// Load reads a file of cases.
func Load(path string) (*File, error) {
	body, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var doc document
	if err := yaml.UnmarshalWithOptions(body, &doc, yaml.DisallowUnknownField()); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	f, err := doc.file()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

func (d *document) file() (*File, error) {
	f := &File{Cases: d.Cases, Entity: kedge.Entity{Name: d.Entity, Key: d.Key}}
	var err error
	if f.Now, err = time.Parse(time.RFC3339, d.Now); err != nil {
		return nil, err
	}
	names := make([]string, len(d.Fields))
	for i, in := range d.Fields {
		t, ok := kedge.ParseType(in.Type)
		if !ok {
			return nil, fmt.Errorf("field %s: no type %q", in.Name, in.Type)
		}
		names[i] = in.Name
		f.Entity.Fields = append(f.Entity.Fields, kedge.Field{
			Name: in.Name, Type: t, Format: in.Format, Enum: in.Enum, Nullable: !slices.Contains(d.Key, in.Name),
		})
	}
	fields := kedge.NewFields(names...)
	for n, row := range d.Rows {
		r, err := f.record(fields, row)
		if err != nil {
			return nil, fmt.Errorf("row %d: %w", n+1, err)
		}
		f.Records = append(f.Records, r)
	}
	return f, nil
}

func (f *File) record(fields *kedge.Fields, row []*string) (kedge.Record, error) {
	r := kedge.Record{Fields: fields}
	if len(row) != fields.Len() {
		return r, fmt.Errorf("%d values for %d fields", len(row), fields.Len())
	}
	for i, text := range row {
		v := kedge.Null()
		if text != nil {
			var err error
			if v, err = kedge.ParseText(f.Entity.Fields[i].Type, *text); err != nil {
				return r, fmt.Errorf("field %s: %w", fields.Name(i), err)
			}
		}
		r.Values = append(r.Values, v)
	}
	var parts []kedge.Value
	for _, k := range f.Entity.Key {
		parts = append(parts, r.Get(k))
	}
	r.Key = kedge.NewKey(parts...)
	return r, nil
}

package custom

import (
	"encoding/json"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/jsonguard"
)

// record makes a record of stored data, with the fields of the table's views
// as far as the data has them, and the name if it is given.
func (t *Table) record(k resourceKey, name string, data []byte) (*kedge.Record, error) {
	r := &kedge.Record{Fields: t.fields, Values: make([]kedge.Value, t.fields.Len())}
	r.Key, _ = eventKey(k)
	r.Values[0], r.Values[1] = kedge.String(k.id), kedge.String(k.group)
	if name != "" {
		r.Values[2] = kedge.String(name)
	}
	values, _, err := members(data)
	if err != nil {
		return nil, err
	}
	for i, c := range t.Columns {
		if raw, ok := values[c.Name]; ok {
			r.Values[len(metaFields)+i] = columnValue(c.Type, raw)
		}
	}
	return r, nil
}

// Record returns a stored resource as a record with the fields of the table's
// views. Those that the data does not have are missing.
func (t *Table) Record(r *Resource) (*kedge.Record, error) {
	return t.record(resourceKey{r.Meta.GroupKey, r.Meta.ID}, r.Meta.Name, r.Data)
}

// columnValue is the value of a column, null if the data has another type.
func columnValue(typ kedge.Type, raw jsontext.Value) kedge.Value {
	kind := raw.Kind()
	switch {
	case kind == 'n':
	case typ == kedge.TypeString && kind == '"':
		var s string
		if json.Unmarshal(raw, &s) == nil {
			return kedge.String(s)
		}
	case typ == kedge.TypeBool && (kind == 't' || kind == 'f'):
		return kedge.Bool(kind == 't')
	case typ == kedge.TypeDecimal && kind == '0':
		return kedge.Decimal(decimalText(string(raw)))
	case typ == kedge.TypeJSON:
		if text, err := jsonguard.Minify(nil, raw); err == nil {
			return kedge.JSON(string(text))
		}
	}
	return kedge.Null()
}

// decimalText writes a JSON number without an exponent.
func decimalText(number string) string {
	if kedge.ValidDecimal(number) {
		return number
	}
	return kedge.CanonicalDecimal(number)
}

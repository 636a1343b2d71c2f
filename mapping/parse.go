package mapping

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/kedge-sync/kedge"
)

// Parse reads a mapping file. name is its name in errors. The cause of an
// error is [Problems].
func Parse(name string, src []byte) (*Mapping, error) {
	if len(src) > MaxFile {
		return nil, parseError(name, Problems{{Line: 1, Column: 1, Message: fmt.Sprintf("the file is longer than %d bytes", MaxFile)}})
	}
	root, problem := readYAML(bytes.TrimPrefix(src, []byte("\ufeff")))
	if problem != nil {
		return nil, parseError(name, Problems{problem})
	}
	r := new(reader)
	f := fileCodec.read(r, root)
	if len(r.problems) == 0 {
		checkNames(r, root, f.Entities)
	}
	if len(r.problems) > 0 {
		return nil, parseError(name, r.problems)
	}
	return &f.Mapping, nil
}

func parseError(name string, problems Problems) error {
	for _, p := range problems {
		p.File = name
	}
	return &kedge.Error{Kind: kedge.Invalid, Err: problems}
}

// Marshal returns m in the canonical form: keys in the order of the schema,
// block style, defaults left out, entities and fields in their order. Parsing
// it gives m again. Comments of the file that m was read from are gone.
func (m *Mapping) Marshal() []byte {
	return writeYAML(fileCodec.write(document{Kedge: formatVersion, Mapping: *m}))
}

// JSONSchema returns the JSON Schema (2020-12) of mapping files.
func JSONSchema() []byte {
	s := fileCodec.schema
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["title"] = "kedge mapping file"
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		panic(err) // the schema is made of maps, lists, texts and numbers
	}
	return append(b, '\n')
}

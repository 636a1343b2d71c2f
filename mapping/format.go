package mapping

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/nearest"
)

// The format of mapping files: the keys of each object in the order of the
// canonical form, with what they mean. Reading, writing and the JSON Schema
// all come from these tables.

const formatVersion = "mapping/v1"

var noteText = text(0)

// A document is a whole mapping file.
type document struct {
	Kedge string
	Mapping
}

var fileKeys = []key[document]{
	keyOf("kedge", "Format of the file.", version(), func(f *document) *string { return &f.Kedge }).must(),
	keyOf("drift", "What a run does when a schema changed.", choice(DriftWarn, nil, DriftWarn, DriftHold, DriftAdopt),
		func(f *document) *DriftPolicy { return &f.Drift }),
	keyOf("firstSync", "What the first sync does with local rows: match and keep them, or, after a confirmation, delete those that match no record.", choice(FirstMerge, nil, FirstMerge, FirstReset),
		func(f *document) *FirstSync { return &f.FirstSync }),
	keyOf("note", "Remark for people; kept on export.", noteText, func(f *document) *string { return &f.Note }),
	keyOf("entities", "Pairs of entities.", list(entityCodec, MaxEntities), func(f *document) *[]Entity { return &f.Entities }),
}

func fileDefaults() document {
	return document{Mapping: Mapping{Drift: DriftWarn, FirstSync: FirstMerge}}
}

var fileCodec = object(fileKeys, fileDefaults, nil)

func version() codec[string] {
	return codec[string]{
		read: func(r *reader, n *node) string {
			if n.kind != scalarNode || n.text != formatVersion {
				r.problem(n, "must be %s, the only version of the format", formatVersion)
			}
			return n.text
		},
		write:  func(v string) *node { return quotedText(v) },
		schema: schema{"const": formatVersion},
	}
}

var entityKeys = []key[Entity]{
	keyOf("name", "Name in tables, logs and commands; default: the local name.", text(100), func(e *Entity) *string { return &e.Name }),
	keyOf("external", "Entity of the remote side.", text(0), func(e *Entity) *string { return &e.External }).must(),
	keyOf("local", "Entity of our side.", text(0), func(e *Entity) *string { return &e.Local }).must(),
	keyOf("enabled", "false: listed, but left out of all runs.", negated(), func(e *Entity) *bool { return &e.Disabled }),
	keyOf("direction", "The way that a sync moves the entity; import and export ignore it.",
		choice(Download, nil, Download, Upload, Bidirectional), func(e *Entity) *Direction { return &e.Direction }),
	keyOf("key", "Pairs of fields that records are matched by.", list(keyPairCodec, MaxKeyParts), func(e *Entity) *[]KeyPair { return &e.Key }),
	keyOf("alternateKeys", "Other pairs, tried in order for records without a link.", list(list(namePairCodec, MaxKeyParts), MaxKeyParts),
		func(e *Entity) *[][]NamePair { return &e.AlternateKeys }),
	keyOf("version", "External field that grows with every change; default: from the metadata.", text(0), func(e *Entity) *string { return &e.Version }),
	keyOf("downloadFilter", "Only matching records are downloaded; external names.", text(MaxFilter), func(e *Entity) *string { return &e.DownloadFilter }),
	keyOf("uploadFilter", "Only matching records are uploaded; local names.", text(MaxFilter), func(e *Entity) *string { return &e.UploadFilter }),
	keyOf("conflict", "What happens when both sides changed a record.", conflictCodec, func(e *Entity) *Conflict { return &e.Conflict }),
	keyOf("deletes", "What a deletion does on the other side.", deletesCodec, func(e *Entity) *Deletes { return &e.Deletes }),
	keyOf("reconcileEvery", "How often a full read sweeps what is gone.", duration(0), func(e *Entity) *time.Duration { return &e.ReconcileEvery }),
	keyOf("note", "Remark for people; kept on export.", noteText, func(e *Entity) *string { return &e.Note }),
	keyOf("fields", "Rules for fields.", list(fieldCodec, MaxFields), func(e *Entity) *[]Field { return &e.Fields }),
}

var entityCodec = named(object(entityKeys, func() Entity { return Entity{}.withDefaults() }, checkEntity))

// named leaves out a name that equals the local name.
func named(c codec[Entity]) codec[Entity] {
	read, write := c.read, c.write
	c.read = func(r *reader, n *node) Entity {
		e := read(r, n)
		setDefault(&e.Name, e.Local)
		return e
	}
	c.write = func(e Entity) *node {
		e = e.withDefaults()
		if e.Name == e.Local {
			e.Name = ""
		}
		return write(e)
	}
	return c
}

// negated is the codec of "enabled", which is stored as its opposite.
func negated() codec[bool] {
	c := flag(true)
	read, write := c.read, c.write
	c.read = func(r *reader, n *node) bool { return !read(r, n) }
	c.write = func(v bool) *node { return write(!v) }
	return c
}

var keyPairCodec = object([]key[KeyPair]{
	keyOf("external", "External field.", text(0), func(p *KeyPair) *string { return &p.External }).must(),
	keyOf("local", "Local field.", text(0), func(p *KeyPair) *string { return &p.Local }).must(),
	keyOf("primary", "Also the primary key of a table that kedge makes.", flag(false), func(p *KeyPair) *bool { return &p.Primary }),
}, func() KeyPair { return KeyPair{} }, nil)

var namePairCodec = object([]key[NamePair]{
	keyOf("external", "External field.", text(0), func(p *NamePair) *string { return &p.External }).must(),
	keyOf("local", "Local field.", text(0), func(p *NamePair) *string { return &p.Local }).must(),
}, func() NamePair { return NamePair{} }, nil)

var conflictPolicy = choice(RemoteWins, policyAliases, RemoteWins, LocalWins, LocalWinsFull, NewestWins, Manual)

var conflictCodec = shortConflict(object([]key[Conflict]{
	keyOf("policy", "Which side wins.", conflictPolicy, func(c *Conflict) *Policy { return &c.Policy }),
	keyOf("editVsDelete", "Which side wins when one edited and the other deleted.",
		choice(Manual, policyAliases, Manual, RemoteWins, LocalWins), func(c *Conflict) *Policy { return &c.EditVsDelete }),
	keyOf("merge", "field: edits of different fields go together; record: every double edit is a conflict.",
		choice(MergeField, nil, MergeField, MergeRecord), func(c *Conflict) *Merge { return &c.Merge }),
	keyOf("modified", "Fields with the time of the last change, for newest_wins.", optional(namePairCodec), func(c *Conflict) *NamePair { return &c.Modified }),
	keyOf("skew", "Times closer than this count as equal.", duration(defaultSkew), func(c *Conflict) *time.Duration { return &c.Skew }),
}, func() Conflict { return Entity{}.withDefaults().Conflict }, nil))

// optional leaves out an object that is the zero value.
func optional[T comparable](c codec[T]) codec[T] {
	write := c.write
	c.write = func(v T) *node {
		var zero T
		if v == zero {
			return nil
		}
		return write(v)
	}
	return c
}

// shortConflict lets the policy stand for the object.
func shortConflict(c codec[Conflict]) codec[Conflict] {
	read := c.read
	c.read = func(r *reader, n *node) Conflict {
		if n.kind == scalarNode {
			key := &node{text: "policy", line: n.line, column: n.column}
			n = &node{kind: objectNode, entries: []entry{{key, n}}, line: n.line, column: n.column}
		}
		return read(r, n)
	}
	c.schema = schema{"anyOf": []schema{conflictPolicy.schema, c.schema}}
	return c
}

var deleteRule = choice(DeleteRemove, nil, DeleteRemove, DeleteSoft, DeleteUnlink, DeleteIgnore)

var deletesCodec = object([]key[Deletes]{
	keyOf("download", "What a remote deletion does here.", deleteRule, func(d *Deletes) *DeleteRule { return &d.Download }),
	keyOf("upload", "What a local deletion does on the remote side.", deleteRule, func(d *Deletes) *DeleteRule { return &d.Upload }),
	keyOf("filterExit", "What leaving the download filter does here.", choice(ExitDelete, nil, ExitDelete, ExitKeep),
		func(d *Deletes) *FilterExit { return &d.FilterExit }),
	keyOf("soft", "The mark that soft sets.", optional(softCodec), func(d *Deletes) *Soft { return &d.Soft }),
	keyOf("maxRows", "More deletions than maxRows and maxPercent allow stop the run.", integer(0, 1<<31-1, defaultMaxRows), func(d *Deletes) *int { return &d.MaxRows }),
	keyOf("maxPercent", "As maxRows, in percent of the linked records.", integer(0, 100, defaultMaxPercent), func(d *Deletes) *int { return &d.MaxPercent }),
}, func() Deletes { return Entity{}.withDefaults().Deletes }, checkDeletes)

var softCodec = object([]key[Soft]{
	keyOf("field", "Local field.", text(0), func(s *Soft) *string { return &s.Field }).must(),
	keyOf("value", "Value of a deleted record.", value(), func(s *Soft) *kedge.Value { return &s.Value }).must(),
}, func() Soft { return Soft{} }, nil)

func checkDeletes(r *reader, n *node, d *Deletes) {
	if (d.Download == DeleteSoft || d.Upload == DeleteSoft) && d.Soft.Field == "" {
		r.problem(n, `soft needs "soft", the field and value that mark a deleted record`)
	}
}

var fieldKeys = []key[Field]{
	keyOf("external", "External field; a list for a composite lookup.", textOrList(MaxKeyParts), func(f *Field) *[]string { return &f.External }),
	keyOf("local", "Local field.", text(0), func(f *Field) *string { return &f.Local }).must(),
	keyOf("enabled", "false: listed, but not moved.", negated(), func(f *Field) *bool { return &f.Disabled }),
	keyOf("type", "Type of the local column that kedge makes; default: from the external field.", typeName(), func(f *Field) *kedge.Type { return &f.Type }),
	keyOf("direction", "The way that a sync moves the field; default: the entity's.", choice("", nil, Download, Upload, Bidirectional),
		func(f *Field) *Direction { return &f.Direction }),
	keyOf("default", "Fills a missing or null value on create.", value(), func(f *Field) *kedge.Value { return &f.Default }),
	keyOf("onError", "What happens to a value that cannot be converted.",
		choice(OnErrorQuarantine, nil, OnErrorQuarantine, OnErrorEmpty, OnErrorDefault), func(f *Field) *OnError { return &f.OnError }),
	keyOf("values", "External values and the local values they become.", valueMap(), func(f *Field) *[]ValuePair { return &f.Values }),
	keyOf("otherwise", "What happens to a value that values does not have.",
		choice(OtherwiseQuarantine, nil, OtherwiseQuarantine, OtherwiseKeep, OtherwiseEmpty), func(f *Field) *Otherwise { return &f.Otherwise }),
	keyOf("constant", "The same value for every record.", value(), func(f *Field) *kedge.Value { return &f.Constant }),
	keyOf("expr", "Expressions over value and record.", expressionsCodec, func(f *Field) *Expressions { return &f.Expressions }),
	keyOf("compare", "When two values count as equal.", comparison(), func(f *Field) *Compare { return &f.Compare }),
	keyOf("conflict", "Which side wins a conflict in this field; default: the entity's policy.",
		choice("", policyAliases, RemoteWins, LocalWins, LocalWinsFull, NewestWins, Manual), func(f *Field) *Policy { return &f.Conflict }),
	keyOf("lookup", "The external values name a record of another entity, whose local key is stored.", pointer(lookupCodec), func(f *Field) **LookupRule { return &f.Lookup }),
	keyOf("note", "Remark for people; kept on export.", noteText, func(f *Field) *string { return &f.Note }),
}

var fieldCodec = filled(object(fieldKeys, func() Field { return Field{}.withDefaults() }, checkField))

// filled writes fields that were made by hand like those that were read.
func filled(c codec[Field]) codec[Field] {
	write := c.write
	c.write = func(f Field) *node { return write(f.withDefaults()) }
	return c
}

var expressionsCodec = object([]key[Expressions]{
	keyOf("download", "Gives the local value.", text(MaxExpression), func(e *Expressions) *string { return &e.Download }),
	keyOf("upload", "Gives the external value.", text(MaxExpression), func(e *Expressions) *string { return &e.Upload }),
}, func() Expressions { return Expressions{} }, func(r *reader, n *node, e *Expressions) {
	if *e == (Expressions{}) {
		r.problem(n, `needs "download" or "upload"`)
	}
})

var lookupCodec = object([]key[LookupRule]{
	keyOf("entity", "Name of an entity of this mapping.", text(0), func(l *LookupRule) *string { return &l.Entity }).must(),
	keyOf("fields", "External fields of that entity that the values equal; default: its external key.", textOrList(MaxKeyParts),
		func(l *LookupRule) *[]string { return &l.Fields }),
}, func() LookupRule { return LookupRule{} }, nil)

func pointer[T any](c codec[T]) codec[*T] {
	return codec[*T]{
		read: func(r *reader, n *node) *T { v := c.read(r, n); return &v },
		write: func(v *T) *node {
			if v == nil {
				return nil
			}
			return c.write(*v)
		},
		schema: c.schema,
	}
}

func typeName() codec[kedge.Type] {
	var names []string
	for t := kedge.TypeBool; t <= kedge.TypeJSON; t++ {
		names = append(names, t.String())
	}
	c := choice("", nil, names...)
	return codec[kedge.Type]{
		read: func(r *reader, n *node) kedge.Type {
			t, _ := kedge.ParseType(c.read(r, n))
			return t
		},
		write: func(t kedge.Type) *node {
			if t == kedge.TypeMissing {
				return nil
			}
			return quotedText(t.String())
		},
		schema: c.schema,
	}
}

func comparison() codec[Compare] {
	return codec[Compare]{
		read: func(r *reader, n *node) Compare {
			c := Compare(n.text)
			if n.kind != scalarNode || !c.valid() {
				r.problem(n, "must be one of exact, trim, nocase, or round:N with N from 0 to %d", maxRound).Suggestion =
					nearest.Name(n.text, []string{string(CompareExact), string(CompareTrim), string(CompareNocase), "round:2"})
				return CompareExact
			}
			return c
		},
		write: func(c Compare) *node {
			if c == CompareExact || c == "" {
				return nil
			}
			return quotedText(string(c))
		},
		schema: schema{"type": "string", "pattern": "^(exact|trim|nocase|round:([0-9]|1[0-8]))$", "default": string(CompareExact)},
	}
}

// valueMap is the codec of "values". Its keys are texts as they are written.
func valueMap() codec[[]ValuePair] {
	return codec[[]ValuePair]{
		read: readValueMap,
		write: func(pairs []ValuePair) *node {
			if len(pairs) == 0 {
				return nil
			}
			out := &node{kind: objectNode}
			for _, p := range pairs {
				out.entries = append(out.entries, entry{quotedText(p.External), value().write(p.Local)})
			}
			return out
		},
		schema: schema{"type": "object", "additionalProperties": value().schema, "minProperties": 1, "maxProperties": MaxValues},
	}
}

func readValueMap(r *reader, n *node) []ValuePair {
	switch {
	case n.kind != objectNode || len(n.entries) == 0:
		r.problem(n, "must be an object of external values and local values")
		return nil
	case len(n.entries) > MaxValues:
		r.problem(n.entries[MaxValues].key, "more than %d values", MaxValues)
		return nil
	}
	pairs, seen := make([]ValuePair, 0, len(n.entries)), make(map[string]bool, len(n.entries))
	for _, e := range n.entries {
		k := e.key
		switch {
		case r.full():
			return nil
		case k.kind != scalarNode || !k.quoted && isNull(k.text):
			r.problem(k, `must be a text; a null value is filled by "default"`)
		case strings.ContainsFunc(k.text, isControl):
			r.problem(k, "holds control characters")
		case seen[k.text]:
			r.problem(k, "value %q is there twice", k.text)
		default:
			seen[k.text] = true
			r.in("."+k.text, func() { pairs = append(pairs, ValuePair{k.text, value().read(r, e.value)}) })
		}
	}
	return pairs
}

// checkField looks at what the keys of a field say together.
func checkField(r *reader, n *node, f *Field) {
	var kinds []string
	for _, k := range []struct {
		name  string
		given bool
	}{
		{"constant", !f.Constant.IsMissing()}, {"expr", f.Expressions != Expressions{}},
		{"lookup", f.Lookup != nil}, {"values", len(f.Values) > 0},
	} {
		if k.given {
			kinds = append(kinds, k.name)
		}
	}
	switch {
	case len(kinds) > 1:
		r.problem(n, "has %s; a field has at most one of them", strings.Join(kinds, " and "))
	case !f.Constant.IsMissing() && len(f.External) > 0:
		r.problem(n, `has "constant", which reads no external field; take "external" out`)
	case len(f.External) == 0 && f.Constant.IsMissing() && (f.Expressions.Download == "" || f.Expressions.Upload != ""):
		r.problem(n, `key "external" is missing`)
	case len(f.External) > 1 && f.Lookup == nil:
		r.problem(n, "has several external fields, which only a lookup can have")
	case f.Lookup != nil && len(f.Lookup.Fields) > 0 && len(f.Lookup.Fields) != len(f.External):
		r.problem(n, "lookup has %d fields for %d external ones", len(f.Lookup.Fields), len(f.External))
	case f.OnError == OnErrorDefault && f.Default.IsMissing():
		r.problem(n, `onError: default needs "default"`)
	case f.Otherwise != OtherwiseQuarantine && len(f.Values) == 0:
		r.problem(n, `"otherwise" needs "values"`)
	}
}

// checkEntity looks at what the keys of an entity say together.
func checkEntity(r *reader, n *node, e *Entity) {
	primary := slices.ContainsFunc(e.Key, func(p KeyPair) bool { return p.Primary })
	if primary && slices.ContainsFunc(e.Key, func(p KeyPair) bool { return !p.Primary }) {
		r.problem(n, "primary must be on all pairs of the key or on none")
	}
	if e.comparesStamps() && e.Conflict.Modified == (NamePair{}) {
		r.problem(n, `newest_wins needs conflict.modified, the fields with the time of the last change`)
	}
}

// checkNames finds entities that share a name.
func checkNames(r *reader, n *node, entities []Entity) {
	seen := make(map[string]int, len(entities))
	for i := range entities {
		name := entities[i].Name
		if first, twice := seen[name]; twice {
			at := n
			if e := n.find("entities"); e != nil && i < len(e.items) {
				at = e.items[i]
			}
			r.in(fmt.Sprintf("entities[%d]", i), func() {
				r.problem(at, "name %q is already that of entities[%d]; give one of them another name", name, first)
			})
			continue
		}
		seen[name] = i
	}
}

package spec

import (
	"errors"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/kedge-sync/kedge"
)

// MaxKey bounds the key of a resource, in bytes after decoding.
const MaxKey = 1024

// A Resource names an entity, or one record of it: "projects",
// "projects/proj1", "lines/order=7,line=2". Its text is percent-encoded where
// a character is no letter, digit or one of - . _ ~.
type Resource struct {
	Entity string
	Names  []string // of the parts of a key that was written with names
	Values []string // of the key; nil: the whole entity
}

// ParseResource reads the text of a resource.
func ParseResource(text string) (Resource, error) {
	name, key, record := strings.Cut(text, "/")
	r := Resource{}
	var err error
	if r.Entity, err = unescape(name); err != nil {
		return Resource{}, err
	}
	if r.Entity == "" {
		return Resource{}, errors.New("write entity or entity/key")
	}
	if !record {
		return r, nil
	}
	if strings.ContainsAny(key, "/?#") {
		return Resource{}, errors.New("write %2F, %3F and %23 for /, ? and # in a key")
	}
	size := 0
	for part := range strings.SplitSeq(key, ",") {
		left, right, named := strings.Cut(part, "=")
		if named {
			n, err := unescape(left)
			if err != nil || n == "" {
				return Resource{}, errors.New("a part of the key has no name")
			}
			r.Names = append(r.Names, n)
			left = right
		}
		v, err := unescape(left)
		if err != nil {
			return Resource{}, err
		}
		if v == "" || strings.Contains(left, "=") {
			return Resource{}, errors.New("a part of the key is empty, or = in it is not written %3D")
		}
		size += len(v)
		r.Values = append(r.Values, v)
	}
	switch {
	case size > MaxKey:
		return Resource{}, errors.New("the key is longer than 1024 bytes")
	case r.Names == nil && len(r.Values) > 1:
		return Resource{}, errors.New("name the parts of a key, as in a=1,b=x; a comma inside a value is %2C")
	case r.Names != nil && len(r.Names) != len(r.Values):
		return Resource{}, errors.New("either all parts of a key have a name or none")
	}
	for i, n := range r.Names {
		for _, m := range r.Names[:i] {
			if n == m {
				return Resource{}, errors.New("a part of the key is there twice")
			}
		}
	}
	return r, nil
}

func unescape(s string) (string, error) {
	out, err := url.PathUnescape(s)
	if err != nil {
		return "", errors.New("a % is not followed by two hexadecimal digits; write %25 for %")
	}
	if !utf8.ValidString(out) || strings.ContainsFunc(out, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		return "", errors.New("control characters and invalid UTF-8 are not allowed")
	}
	return out, nil
}

// IsRecord reports whether r is one record.
func (r Resource) IsRecord() bool { return r.Values != nil }

// String returns the text of r.
func (r Resource) String() string {
	var b strings.Builder
	b.WriteString(escape(r.Entity))
	for i, v := range r.Values {
		b.WriteByte("/,"[min(i, 1)])
		if r.Names != nil {
			b.WriteString(escape(r.Names[i]))
			b.WriteByte('=')
		}
		b.WriteString(escape(v))
	}
	return b.String()
}

func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// Key returns the canonical key of the record.
func (r Resource) Key() kedge.Key {
	values := make([]kedge.Value, len(r.Values))
	for i, v := range r.Values {
		values[i] = kedge.String(v)
	}
	return kedge.NewKey(values...)
}

// ResourceOf returns the resource of a record. names are those of the parts of
// its key.
func ResourceOf(entity string, key kedge.Key, names []string) Resource {
	if len(names) < 2 {
		return Resource{Entity: entity, Values: []string{string(key)}}
	}
	parts, err := key.Parts(len(names))
	if err != nil {
		return Resource{Entity: entity, Values: []string{string(key)}}
	}
	return Resource{Entity: entity, Names: names, Values: parts}
}

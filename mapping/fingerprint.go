package mapping

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/kedge-sync/kedge"
)

// describe notes what the download of a field depends on, for the fingerprint.
// A note, a comparison or a conflict policy changes nothing in rows that were
// downloaded before, and a default only fills new ones.
func (d *draft) describe(f *Field, from kedge.Type, loc *kedge.Field) {
	part := fmt.Sprintf("%q>%q %v>%v %s", f.External, f.Local, from, loc.Type, f.OnError)
	if f.OnError == OnErrorDefault {
		part += string(f.Default.AppendCanonical(nil))
	}
	d.downloadParts = append(d.downloadParts, part+describeRule(f, f.Expressions.Download))
}

// describeRule notes how a field is converted, with the expression of one way.
func describeRule(f *Field, expression string) string {
	switch {
	case !f.Constant.IsMissing():
		return " constant " + string(f.Constant.AppendCanonical(nil))
	case expression != "":
		return " expr " + strconv.Quote(expression)
	case f.Lookup != nil:
		return fmt.Sprintf(" lookup %q %q", f.Lookup.Entity, f.Lookup.Fields)
	case len(f.Values) > 0:
		part := " values " + string(f.Otherwise)
		for _, p := range f.Values {
			part += " " + strconv.Quote(p.External) + string(p.Local.AppendCanonical(nil))
		}
		return part
	}
	return ""
}

// fingerprint returns the hash of all that, when changed, makes rows that were
// downloaded before out of date.
func (d *draft) fingerprint() string {
	e := d.rules
	version := e.Version
	if version == "" {
		version = d.ext.Version
	}
	filter := ""
	if d.plan.DownloadFilter != nil {
		filter = e.DownloadFilter
	}
	parts := []string{formatVersion, e.External, e.Local, version, filter}
	for _, p := range e.Key {
		parts = append(parts, fmt.Sprintf("key %q %q", p.External, p.Local))
	}
	parts = append(parts, d.downloadParts...)
	return strconv.FormatUint(xxhash.Sum64String(strings.Join(parts, "\n")), 16)
}

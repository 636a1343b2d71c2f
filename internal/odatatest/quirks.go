package odatatest

// A Name is the name of a quirk or fault, with one line that tells what it does.
type Name struct {
	Name  string
	Title string
}

// The quirks of reading.
const (
	OffsetTokens       = "offset-tokens"
	IgnoreMaxPageSize  = "ignore-maxpagesize"
	PreferNotInherited = "prefer-not-inherited"
	NextAfterTop       = "next-after-top"
	RelativeLinks      = "relative-links"
	ForeignLinks       = "foreign-links"
	EmptyPages         = "empty-pages"
	EarlyDeltaLink     = "early-delta-link"
	DeltaIgnoresSelect = "delta-ignores-select"
	DeltaOutsideFilter = "delta-outside-filter"
	DeltaForgets       = "delta-forgets"
	MixedRemoved       = "mixed-removed"
	BareID             = "bare-id"
	NoOr               = "no-or"
	TextTimeCompare    = "text-time-compare"
	CaseInsensitive    = "case-insensitive"
	NoIEEE754          = "no-ieee754"
	OddErrors          = "odd-errors"
	OddConstraint      = "odd-constraint"
)

// The quirks of writing. NoIEEE754 and OddErrors show there too.
const (
	Batch201RolledBack = "batch-201-rolled-back"
	BatchNullIDs       = "batch-null-ids"
	BatchFlat          = "batch-flat"
	BatchWrongHost     = "batch-wrong-host"
	BatchOmits         = "batch-omits"
	BatchNextLink      = "batch-next-link"
	Duplicate500       = "500-duplicate"
	CSRF               = "csrf"
	Normalise          = "normalise"
)

// Quirks returns the quirks that a service can have.
func Quirks() []Name { return append(ReadQuirks(), WriteQuirks()...) }

// WriteQuirks returns the quirks that only show when a client writes.
func WriteQuirks() []Name {
	return []Name{
		{Batch201RolledBack, "what was taken back with its group is answered as if it were done"},
		{BatchNullIDs, "the answers in a batch have no ids"},
		{BatchFlat, "the answers of a change set are not nested, or do not tell their group"},
		{BatchWrongHost, "the URLs of the answers in a batch have another host"},
		{BatchOmits, "every third answer in a batch is missing"},
		{BatchNextLink, "the answers of a JSON batch come in pages of 2"},
		{Duplicate500, "a POST of a key that exists is answered with 500"},
		{CSRF, "writes are answered with 403 unless they have a token and cookies from the root"},
		{Normalise, "written texts are trimmed, decimals rounded to 2 places, and versions grow by 2"},
	}
}

// ReadQuirks returns the quirks that show when a client reads.
func ReadQuirks() []Name {
	return []Name{
		{OffsetTokens, "next links count rows, so that edits between pages skip or repeat rows"},
		{IgnoreMaxPageSize, "the size of pages is the server's alone"},
		{PreferNotInherited, "a page whose request has no Prefer holds all that is left"},
		{NextAfterTop, "a next link follows although $top is met, and goes on beyond it"},
		{RelativeLinks, "next and delta links are relative to the request"},
		{ForeignLinks, "next links lead to another host"},
		{EmptyPages, "every other page is empty but for its next link"},
		{EarlyDeltaLink, "each page has a delta link, and only that of the last page is complete"},
		{DeltaIgnoresSelect, "deltas hold all properties"},
		{DeltaOutsideFilter, "deltas hold changed rows that the filter excludes"},
		{DeltaForgets, "deltas are empty whatever happened"},
		{MixedRemoved, "deleted entities are written in the spellings of 4.0 and 4.01 mixed"},
		{BareID, "the id of a deleted entity is its bare key"},
		{NoOr, "$filter with or over different fields is refused"},
		{TextTimeCompare, "times are compared as texts of another form"},
		{CaseInsensitive, "strings are compared without case"},
		{NoIEEE754, "IEEE754Compatible is refused with 406 and 415, and large numbers are JSON numbers"},
		{OddErrors, "error bodies are numbers, text, HTML or empty"},
		{OddConstraint, "referential constraints in the metadata are malformed"},
	}
}

func isQuirk(name string) bool {
	for _, q := range Quirks() {
		if q.Name == name {
			return true
		}
	}
	return false
}

func names(list []Name) []string {
	out := make([]string, len(list))
	for i, n := range list {
		out[i] = n.Name
	}
	return out
}

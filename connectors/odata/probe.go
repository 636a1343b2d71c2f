package odata

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/odata/wire"
)

// ask gets the first page of a question: the key and the version of at most
// top rows.
func (r *read) ask(ctx context.Context, condition, order string, top int) (*wire.Page, error) {
	plan, err := r.e.plan(nil, false)
	if err != nil {
		return nil, err
	}
	var q query
	r.e.selection(&q, nil)
	q.add("$filter", condition)
	q.add("$orderby", order)
	q.add("$top", strconv.Itoa(top))
	u, err := r.d.entityURL(ctx, r.e, "", &q)
	if err != nil {
		return nil, err
	}
	for range 5 { // a few empty pages may come first
		page, _, err := r.fetch(ctx, call{url: u}, plan)
		if err != nil || page.Rows > 0 || page.NextLink == "" {
			return page, err
		}
		if u, err = resolve(u, page.NextLink); err != nil {
			return nil, err
		}
	}
	return nil, &kedge.Error{Kind: kedge.Invalid, Err: fmt.Errorf("the service answers with empty pages only")}
}

// equals is the condition for the row with the given texts.
func equals(columns []wire.Column, texts []string) string {
	parts := make([]string, len(columns))
	for i := range columns {
		parts[i] = columns[i].Path + " eq " + wire.Literal(&columns[i], texts[i])
	}
	return strings.Join(parts, " and ")
}

// newest returns the place of the row with the greatest version, or the zero
// position if there is none.
func (r *read) newest(ctx context.Context) (wire.Position, error) {
	page, err := r.ask(ctx, "", r.e.version.Path+" desc", 1)
	if err != nil || page.Rows == 0 {
		return wire.Position{}, err
	}
	if page.Last.Key[0] == "" {
		bad := &kedge.Error{Kind: kedge.Invalid, Err: fmt.Errorf("the newest row cannot be read")}
		if len(page.Rejected) > 0 {
			bad.Err = fmt.Errorf("the newest row cannot be read: field %s: %w", page.Rejected[0].Field, page.Rejected[0].Err)
		}
		return wire.Position{}, bad
	}
	return page.Last, nil
}

// testVersion tests whether the filter on the version field can be trusted: the
// newest row must come for eq and ge, and not for gt. It returns why not, or
// "", and the newest row, which may be another one meanwhile.
func (r *read) testVersion(ctx context.Context, newest wire.Position) (why string, last wire.Position, err error) {
	for range 3 {
		ok, err := r.findsItself(ctx, newest)
		if ok || err != nil {
			return "", newest, err
		}
		again, err := r.newest(ctx)
		if err != nil {
			return "", newest, err
		}
		if again.Version == newest.Version && slices.Equal(again.Key, newest.Key) {
			break
		}
		newest = again // edited during the test
	}
	kind := "time"
	if r.e.version.Type == kedge.TypeInt {
		kind = "number"
	}
	return fmt.Sprintf("%s filter on %q does not find its own row", kind, r.e.version.Path), newest, nil
}

func (r *read) findsItself(ctx context.Context, row wire.Position) (bool, error) {
	for _, test := range []struct {
		op   string
		rows int
	}{{"eq", 1}, {"ge", 1}, {"gt", 0}} {
		condition := r.e.version.Path + " " + test.op + " " + wire.Literal(r.e.version, row.Version)
		if !slices.ContainsFunc(r.e.key, func(k wire.Column) bool { return k.Path == r.e.version.Path }) {
			condition += " and " + equals(r.e.key, row.Key)
		}
		page, err := r.ask(ctx, condition, "", 2)
		if refused(err) {
			return false, nil
		}
		if err != nil || page.Rows != test.rows {
			return false, err
		}
	}
	return true, nil
}

// byKeys settles whether a full read goes from page to page by keys.
func (r *read) byKeys(ctx context.Context, f finding) (bool, error) {
	switch {
	case r.e.opts.Paging == byServer || len(r.e.key) == 0:
		return false, nil
	case r.e.opts.Paging == byKey || f.Keyset == found:
		return true, nil
	case f.Keyset == failed:
		return false, nil
	}
	result, why, err := r.testKeys(ctx)
	if err != nil {
		return false, err
	}
	r.learn(ctx, func(f *finding) { f.Keyset, f.KeysetWhy = result, why })
	return result == found, nil
}

// testKeys tests whether the service orders and filters by the key: behind the
// first row must come the second. unasked: there are not enough rows to tell.
func (r *read) testKeys(ctx context.Context) (result answer, why string, err error) {
	page, err := r.ask(ctx, "", orderBy(r.e.key), 2)
	if refused(err) {
		return failed, "the service does not order by key", nil
	}
	if err != nil || page.Rows < 2 || len(page.Records) < 2 {
		return unasked, "too few rows to tell", err
	}
	first, err := r.keyTexts(page.Records[0].Key)
	if err != nil {
		return failed, "", err
	}
	second, err := r.keyTexts(page.Records[1].Key)
	if err != nil {
		return failed, "", err
	}
	level := 0
	for level < len(first)-1 && first[level] == second[level] {
		level++
	}
	behind, err := r.ask(ctx, after(r.e.key, first, false, level), orderBy(r.e.key), 1)
	switch {
	case refused(err):
		return failed, "the service does not filter by key", nil
	case err != nil:
		return unasked, "", err
	case len(behind.Records) == 0 || behind.Records[0].Key != page.Records[1].Key:
		return failed, "the row behind the first one is not the second one", nil
	}
	if len(first) > 1 && *r.d.cfg.OrFilters {
		behind, err := r.ask(ctx, after(r.e.key, first, true, 0), orderBy(r.e.key), 1)
		if refused(err) || err == nil && (len(behind.Records) == 0 || behind.Records[0].Key != page.Records[1].Key) {
			return failed, "the service does not understand or; set orFilters: false", nil
		}
		if err != nil {
			return unasked, "", err
		}
	}
	return r.testCase(ctx, first)
}

// testCase tests whether the service tells texts of different case apart.
// Keys that differ only in case would be lost between pages otherwise.
func (r *read) testCase(ctx context.Context, key []string) (result answer, why string, err error) {
	for i := range r.e.key {
		c := &r.e.key[i]
		swapped := strings.Map(swapCase, key[i])
		if c.Type != kedge.TypeString || c.Format != kedge.FormatNone || swapped == key[i] {
			continue
		}
		page, err := r.ask(ctx, c.Path+" eq "+wire.Literal(c, swapped), "", 1)
		if err != nil {
			return unasked, "", err
		}
		if page.Rows > 0 && page.Last.Key[i] != swapped {
			return failed, "the service compares texts without case", nil
		}
	}
	return found, "", nil
}

func swapCase(c rune) rune {
	if unicode.IsUpper(c) {
		return unicode.ToLower(c)
	}
	return unicode.ToUpper(c)
}

// keyTexts returns the parts of a key as texts for literals.
func (r *read) keyTexts(k kedge.Key) ([]string, error) { return k.Parts(len(r.e.key)) }

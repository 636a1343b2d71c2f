package odatatest

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/kedge-sync/kedge"
)

// Every quirk shows its effect, next to what an honest service does.
func TestQuirks(t *testing.T) {
	cases := map[string]func(t *testing.T, quirk string){
		OffsetTokens: func(t *testing.T, quirk string) {
			bothWays(t, quirk, "a b c d e", "a b d e", func(s *Service, url string) string {
				d := getPage(t, url+"things", "Prefer", "odata.maxpagesize=2")
				remove(t, s, "a")
				rows, _, _ := readAll(t, d.Next)
				return ids(append(d.Value, rows...))
			})
		},
		IgnoreMaxPageSize: func(t *testing.T, quirk string) {
			bothWays(t, quirk, "a b odata.maxpagesize=2", "a b c d e ", func(_ *Service, url string) string {
				r := get(t, url+"things", "Prefer", "odata.maxpagesize=2")
				return ids(getPage(t, url+"things", "Prefer", "odata.maxpagesize=2").Value) + " " + r.header.Get("Preference-Applied")
			})
		},
		PreferNotInherited: func(t *testing.T, quirk string) {
			bothWays(t, quirk, "c d", "c d e", func(_ *Service, url string) string {
				return ids(getPage(t, getPage(t, url+"things", "Prefer", "odata.maxpagesize=2").Next).Value)
			})
			_, url := newThings(t, 5, Options{Quirks: []string{quirk}, PageCap: 2})
			wantText(t, "Prefer sent again", ids(getPage(t, getPage(t, url+"things").Next, "Prefer", "odata.maxpagesize=1").Value), "c")
		},
		NextAfterTop: func(t *testing.T, quirk string) {
			bothWays(t, quirk, "a b", "a b c d e", func(_ *Service, url string) string {
				rows, _, _ := readAll(t, url+"things?$top=2")
				return ids(rows)
			})
		},
		RelativeLinks: func(t *testing.T, quirk string) {
			bothWays(t, quirk, "ROOT/", "", func(_ *Service, url string) string {
				next := relative(getPage(t, url+"things", "Prefer", "odata.maxpagesize=2").Next, url)
				return next[:strings.Index(next, "things?$skiptoken=")]
			})
		},
		ForeignLinks: func(t *testing.T, quirk string) {
			bothWays(t, quirk, "ROOT/", "https://elsewhere.example/", func(_ *Service, url string) string {
				next := relative(getPage(t, url+"things", "Prefer", "odata.maxpagesize=2").Next, url)
				return next[:strings.Index(next, "things?$skiptoken=")]
			})
		},
		EmptyPages: func(t *testing.T, quirk string) {
			bothWays(t, quirk, "a b, c d, e, ", "a b, , c d, , e, ", func(_ *Service, url string) string {
				out := ""
				for next := url + "things"; next != ""; {
					d := getPage(t, next, "Prefer", "odata.maxpagesize=2")
					out, next = out+ids(d.Value)+", ", d.Next
				}
				return out
			})
		},
		EarlyDeltaLink: func(t *testing.T, quirk string) {
			bothWays(t, quirk, "false true", "true true", func(_ *Service, url string) string {
				first := getPage(t, url+"things", "Prefer", "odata.maxpagesize=3,odata.track-changes")
				return jsonBool(first.Delta != "") + " " + jsonBool(getPage(t, first.Next).Delta != "")
			})
		},
		DeltaIgnoresSelect: func(t *testing.T, quirk string) {
			bothWays(t, quirk, `{"id":"a"}`, `{"id":"a","n":8,"name":"thing a","code":"code a","owner":null}`, func(s *Service, url string) string {
				link := start(t, url, "$select=id")
				patch(t, s, "id", kedge.String("a"), "n", kedge.Int(8))
				return valueOf(t, get(t, link).raw, url)
			})
		},
		DeltaOutsideFilter: func(t *testing.T, quirk string) {
			bothWays(t, quirk, "", `{"id":"a","n":-8}`, func(s *Service, url string) string {
				link := start(t, url, "$select=id,n&$filter=n%20gt%201") // a has n 1
				patch(t, s, "id", kedge.String("a"), "n", kedge.Int(-8))
				return valueOf(t, get(t, link).raw, url)
			})
		},
		DeltaForgets: func(t *testing.T, quirk string) {
			bothWays(t, quirk, "a", "", func(s *Service, url string) string {
				link := start(t, url, "")
				patch(t, s, "id", kedge.String("a"), "n", kedge.Int(8))
				return ids(getPage(t, link).Value)
			})
		},
		MixedRemoved: func(t *testing.T, quirk string) {
			bothWays(t, quirk, "false", "true", func(s *Service, url string) string {
				link := start(t, url, "")
				remove(t, s, "a")
				return jsonBool(strings.Contains(get(t, link).raw, "removed"))
			})
		},
		BareID: func(t *testing.T, quirk string) {
			bothWays(t, quirk, "false", "true", func(s *Service, url string) string {
				link := start(t, url, "")
				remove(t, s, "a")
				return jsonBool(strings.Contains(get(t, link).raw, `"id":"a"`))
			})
		},
		NoOr: func(t *testing.T, quirk string) {
			bothWays(t, quirk, "200 200", "400 200", func(_ *Service, url string) string {
				return statuses(t, url+"things?$filter=n%20gt%203%20or%20(n%20eq%203%20and%20id%20gt%20'a')", url+"things?$filter=n%20eq%203%20or%20n%20eq%204")
			})
		},
		TextTimeCompare: func(t *testing.T, quirk string) {
			bothWays(t, quirk, "a,a,", ",,a", func(s *Service, url string) string {
				var out []string
				for _, op := range []string{"eq", "ge", "lt"} { // of the very time that was sent
					rows, _, _ := readAll(t, url+"things?$top=1&$filter=ModifiedAt%20"+op+"%202026-01-31T10:00:00Z")
					out = append(out, ids(rows))
				}
				return strings.Join(out, ",")
			})
		},
		CaseInsensitive: func(t *testing.T, quirk string) {
			bothWays(t, quirk, ",a b c d e, put", "a,b c d e,a refused", func(s *Service, url string) string {
				var out []string
				for _, filter := range []string{"name%20eq%20'THING%20A'", "name%20ne%20'Thing%20a'", "contains(name,'G%20a')"} {
					rows, _, _ := readAll(t, url+"things?$filter="+filter)
					out = append(out, ids(rows))
				}
				got := strings.Join(out, ",")
				if s.Put("things", thing("A", 1)) == nil {
					return got + " put"
				}
				return got + " refused"
			})
		},
		NoIEEE754: func(t *testing.T, quirk string) {
			bothWays(t, quirk, `200 "1"`, `406 1`, func(_ *Service, url string) string {
				r := get(t, url+"things('a')?$select=n", "Accept", "application/json;IEEE754Compatible=true")
				code := "200"
				if r.status == http.StatusNotAcceptable {
					code, r = "406", get(t, url+"things('a')?$select=n")
				}
				return code + " " + strings.TrimSuffix(r.raw[strings.Index(r.raw, `"n":`)+4:], "}")
			})
		},
		OddErrors: func(t *testing.T, quirk string) {
			bothWays(t, quirk, "object object", "number html", func(_ *Service, url string) string {
				return shape(get(t, url+"things?$nope=1").raw) + " " + shape(get(t, url+"nope").raw)
			})
		},
		OddConstraint: func(t *testing.T, quirk string) {
			honest, odd := `<ReferentialConstraint Property="owner" ReferencedProperty="id"/>`, `<ReferentialConstraint Property="id" ReferencedProperty="owner/owner"/>`
			bothWays(t, quirk, "true false", "false true", func(_ *Service, url string) string {
				raw := get(t, url+"$metadata").raw
				return jsonBool(strings.Contains(raw, honest)) + " " + jsonBool(strings.Contains(raw, odd) && strings.Contains(raw, "OddNav"))
			})
		},
	}
	everyName(t, ReadQuirks(), cases)
	for _, q := range ReadQuirks() {
		if test := cases[q.Name]; test != nil {
			t.Run(q.Name, func(t *testing.T) { test(t, q.Name) })
		}
	}
}

// bothWays runs f on an honest service of five things and on one with the quirk.
func bothWays(t *testing.T, quirk, honest, odd string, f func(s *Service, url string) string) {
	t.Helper()
	s, url := newThings(t, 5, Options{NoVersion: quirk != TextTimeCompare})
	wantText(t, "without the quirk", f(s, url), honest)
	s, url = newThings(t, 5, Options{NoVersion: quirk != TextTimeCompare, Quirks: []string{quirk}})
	wantText(t, "with the quirk", f(s, url), odd)
}

func jsonBool(b bool) string {
	if b {
		return "true"
	}
	return "false"
}

func statuses(t *testing.T, urls ...string) string {
	t.Helper()
	var out []string
	for _, u := range urls {
		out = append(out, strconv.Itoa(get(t, u).status))
	}
	return strings.Join(out, " ")
}

// shape tells what kind of body an error has.
func shape(raw string) string {
	var body struct{ Error struct{ Code any } }
	if strings.HasPrefix(raw, "<") {
		return "html"
	}
	if json.Unmarshal([]byte(raw), &body) != nil {
		return "text"
	}
	if _, ok := body.Error.Code.(float64); ok {
		return "number"
	}
	return "object"
}

// The numeric, textual, HTML and empty bodies of odd-errors all come.
func TestOddErrorBodies(t *testing.T) {
	for status, want := range map[int]string{400: "{", 501: "m", 404: "<", 412: "", 428: "{"} {
		body := string(oddError(&failure{status: status, message: "m"}).body)
		if want == "" && body != "" || !strings.HasPrefix(body, want) {
			t.Errorf("status %d: got %q, want it to begin with %q", status, body, want)
		}
	}
}

func TestUnknownQuirk(t *testing.T) {
	err := (&Options{Quirks: []string{"nope"}}).Check()
	if err == nil || !strings.Contains(err.Error(), OffsetTokens) {
		t.Errorf("got %v, want an error that lists the quirks", err)
	}
}

package odatatest

import (
	"net/url"
	"strconv"
	"strings"

	"github.com/kedge-sync/kedge/connectors/filter"
)

// A query is what the query options ask for.
type query struct {
	options []option // as they were given, for next links
	format  string
	sel     selection
	filter  *filter.Expr
	match   matcher
	order   ordering
	top     int // -1: no limit
	skip    int
	count   bool
	expand  []expansion
	token   *token // of $skiptoken
	delta   *token // of $deltatoken
}

type option struct{ name, value string }

// systemOptions are the options that are served; those that are known but not
// served are answered with 501 (URL Conventions 4.01, 5.1).
var systemOptions = map[string]bool{
	"$select": true, "$filter": true, "$orderby": true, "$top": true, "$skip": true, "$count": true, "$expand": true,
	"$format": true, "$skiptoken": true, "$deltatoken": true,
	"$search": false, "$apply": false, "$compute": false, "$index": false, "$schemaversion": false,
}

// parseOptions reads the system query options. Options that do not begin with
// "$" are custom ones and mean nothing here, except that 4.01 allows system
// options without "$" and in any case.
func (rq *request) parseOptions() (map[string]string, []option, error) {
	found := make(map[string]string)
	var list []option
	for _, pair := range strings.Split(rq.URL.RawQuery, "&") {
		if pair == "" {
			continue
		}
		rawName, rawValue, _ := strings.Cut(pair, "=")
		name, err1 := url.QueryUnescape(rawName)
		value, err2 := url.QueryUnescape(rawValue)
		if err1 != nil || err2 != nil {
			return nil, nil, badRequest("The query is malformed.")
		}
		if rq.version == V401 {
			if lower := "$" + strings.ToLower(strings.TrimPrefix(name, "$")); systemOptions[lower] {
				name = lower
			}
		}
		if !strings.HasPrefix(name, "$") {
			list = append(list, option{name, value})
			continue
		}
		served, known := systemOptions[name]
		if _, double := found[name]; double {
			return nil, nil, badRequest("The query option %s is given twice.", name)
		} else if !known {
			return nil, nil, badRequest("The query option %s is unknown.", name)
		} else if !served {
			return nil, nil, notImplemented("The query option %s is not supported.", name)
		}
		found[name] = value
		list = append(list, option{name, value})
	}
	return found, list, nil
}

// allowed are the options of each kind of resource.
var allowed = map[resourceKind]string{
	serviceDocument:  "$format",
	metadataDocument: "$format",
	collection:       "$format $select $filter $orderby $top $skip $count $expand $skiptoken $deltatoken",
	countOnly:        "$filter",
	entity:           "$format $select $expand",
}

// parseQuery reads the query options of a request for res.
func (s *Service) parseQuery(rq *request, res *resource) (*query, error) {
	opts, list, err := rq.parseOptions()
	if err != nil {
		return nil, err
	}
	for name := range opts {
		if !strings.Contains(" "+allowed[res.kind]+" ", " "+name+" ") {
			return nil, badRequest("The query option %s is not allowed here.", name)
		}
	}
	q := &query{options: list, top: -1, format: opts["$format"]}
	if !res.rows() {
		return q, nil
	}
	t := res.table
	if q.sel, err = t.parseSelect(opts["$select"]); err != nil {
		return nil, err
	}
	if q.order, err = t.parseOrder(opts["$orderby"]); err != nil {
		return nil, err
	}
	if q.expand, err = s.parseExpand(t, opts["$expand"]); err != nil {
		return nil, err
	}
	if text, ok := opts["$filter"]; ok {
		if err := s.parseFilter(q, t, text); err != nil {
			return nil, err
		}
	}
	if s.opts.NoFilter && (opts["$filter"] != "" || opts["$orderby"] != "") {
		return nil, notImplemented("$filter and $orderby are not supported.")
	}
	if err := q.parseNumbers(opts); err != nil {
		return nil, err
	}
	if q.token, err = s.parseToken(opts, "$skiptoken", t); err != nil {
		return nil, err
	}
	q.delta, err = s.parseToken(opts, "$deltatoken", t)
	return q, err
}

func (q *query) parseNumbers(opts map[string]string) (err error) {
	for name, to := range map[string]*int{"$top": &q.top, "$skip": &q.skip} {
		text, ok := opts[name]
		if !ok {
			continue
		}
		if *to, err = strconv.Atoi(text); err != nil || *to < 0 || text[0] == '+' {
			return badRequest("%s must be a number of 0 or more.", name)
		}
	}
	switch opts["$count"] {
	case "", "false":
	case "true":
		q.count = true
	default:
		return badRequest("$count must be true or false.")
	}
	return nil
}

// An ordering is the order of a collection: by properties, then by key.
type ordering struct {
	props []int
	desc  []bool
	keyed bool // the plain order of keys
	text  string
}

// parseOrder reads $orderby (URL Conventions 4.01, 5.1.7).
func (t *table) parseOrder(text string) (ordering, error) {
	o := ordering{text: text}
	if text != "" {
		for _, item := range splitOutside(text, ',') {
			words := strings.Fields(item)
			if len(words) == 0 || len(words) > 2 {
				return o, badRequest("$orderby is malformed.")
			}
			i, ok := t.index[words[0]]
			if !ok {
				return o, badRequest("$orderby names an unknown property.")
			}
			if t.props[i].Type.String() == "json" {
				return o, badRequest("$orderby names a property that has no order.")
			}
			if len(words) == 2 && words[1] != "asc" && words[1] != "desc" {
				return o, badRequest("$orderby knows asc and desc.")
			}
			o.props, o.desc = append(o.props, i), append(o.desc, len(words) == 2 && words[1] == "desc")
		}
	}
	o.keyed = true
	for i, p := range o.props {
		o.keyed = o.keyed && i < len(t.key) && t.key[i] == p && !o.desc[i]
	}
	if o.keyed {
		o.props, o.desc = nil, nil
	}
	for _, k := range t.key {
		o.props, o.desc = append(o.props, k), append(o.desc, false)
	}
	return o, nil
}

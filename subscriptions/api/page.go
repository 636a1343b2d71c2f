package api

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/kedge-sync/kedge/internal/httpapi"
)

// The bounds of a page for subscribers.
const (
	defaultPage = 100
	maxPage     = 200
)

// A page is the part of a list that is asked for.
type page struct {
	limit  int
	cursor string
}

// page reads the page parameters of a list, and others: pageSize and pageToken
// of subscribers, limit and cursor of operators.
func (c *call) page(others ...string) (page, url.Values, error) {
	if c.admin {
		p, q, err := httpapi.PageParams(c.r, others...)
		if err == nil && (p.Filter != "" || p.OrderBy != "") {
			err = &httpapi.Problem{Status: http.StatusBadRequest, Detail: "this list takes no filter and no orderby"}
		}
		return page{p.Limit, p.Cursor}, q, err
	}
	q, err := httpapi.OnlyParams(c.r, append([]string{"pageSize", "pageToken"}, others...)...)
	if err != nil {
		return page{}, nil, err
	}
	p := page{defaultPage, q.Get("pageToken")}
	if q.Has("pageSize") {
		if p.limit, err = strconv.Atoi(q.Get("pageSize")); err != nil || p.limit < 1 || p.limit > maxPage {
			return page{}, nil, &httpapi.Problem{Status: http.StatusBadRequest, Detail: fmt.Sprintf("pageSize must be a number from 1 to %d", maxPage)}
		}
	}
	return p, q, nil
}

// number returns the cursor of a list that is ordered by number, the highest
// first; 0 for the first page.
func (p page) number() (int64, error) {
	if p.cursor == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(p.cursor, 10, 64)
	if err != nil || n < 1 {
		return 0, badCursor
	}
	return n, nil
}

var badCursor = &httpapi.Problem{Status: http.StatusBadRequest, Detail: "the page token is not one of this list; start without it"}

// A list is one page for subscribers.
type list[T any] struct {
	Value []T    `json:"value"`
	Next  string `json:"nextPageToken,omitempty"`
}

// answerList answers with a page of a list and the cursor of the next one.
func answerList[T any](c *call, items []T, next string) error {
	if items == nil {
		items = []T{}
	}
	if c.admin {
		return httpapi.WriteJSON(c.w, http.StatusOK, httpapi.List[T]{Items: items, Next: next})
	}
	return httpapi.WriteJSON(c.w, http.StatusOK, list[T]{items, next})
}

// answerNumbered answers with a page of a list that is ordered by number.
func answerNumbered[T any](c *call, p page, items []T, number func(T) int64) error {
	next := ""
	if len(items) == p.limit {
		next = strconv.FormatInt(number(items[len(items)-1]), 10)
	}
	return answerList(c, items, next)
}

package wire

import (
	"strings"
	"unicode/utf8"
)

// MaxRemote is the most that is kept of what a service says about an error, in bytes.
const MaxRemote = 4 << 10

// An ErrorBody is what a service says about an error (JSON Format 4.01, 21).
type ErrorBody struct {
	Code    string // of the service; numbers as they were sent
	Target  string // what the error is about, such as a property
	Message string // the service's own words, which may hold personal data
	Details []ErrorDetail
	OData   bool // the body has the form of an OData error
}

// An ErrorDetail is one of several errors.
type ErrorDetail struct{ Code, Target, Message string }

// ReadError reads the body of an answer with an error status. It takes what
// is there: a body that is not an OData error gives its text as the message.
func ReadError(body string) ErrorBody {
	d := decoder{scanner: scanner{s: body}}
	var e ErrorBody
	i := d.space(0)
	end := d.members(i, func(name string, i int) int {
		if name != "error" && name != "odata.error" || i >= len(body) || body[i] != '{' {
			_, _, next := d.skip(i, 1)
			return next
		}
		e.OData = true
		return d.errorObject(i, &e, false)
	})
	if end < 0 && !e.OData || !e.OData {
		e = ErrorBody{Message: body}
	}
	e.Message = cut(e.Message)
	for i := range e.Details {
		e.Details[i].Message = cut(e.Details[i].Message)
	}
	return e
}

// errorObject reads the members of the error at i. Details of details are left out.
func (d *decoder) errorObject(i int, e *ErrorBody, inner bool) int {
	return d.members(i, func(name string, i int) int {
		switch {
		case name == "code":
			return d.scalar(i, &e.Code)
		case name == "target":
			return d.scalar(i, &e.Target)
		case name == "message":
			return d.message(i, &e.Message)
		case name == "details" && !inner:
			return d.details(i, e)
		}
		_, _, next := d.skip(i, 2)
		return next
	})
}

// message reads a text, or the object {lang, value} of older services.
func (d *decoder) message(i int, into *string) int {
	if i >= len(d.s) || d.s[i] != '{' {
		return d.scalar(i, into)
	}
	return d.members(i, func(name string, i int) int {
		if name == "value" {
			return d.scalar(i, into)
		}
		_, _, next := d.skip(i, 3)
		return next
	})
}

// maxDetails is how many details are kept.
const maxDetails = 20

func (d *decoder) details(i int, e *ErrorBody) int {
	if i >= len(d.s) || d.s[i] != '[' {
		_, _, next := d.skip(i, 2)
		return next
	}
	if i = d.space(i + 1); i < len(d.s) && d.s[i] == ']' {
		return i + 1
	}
	for {
		var one ErrorBody
		if i < len(d.s) && d.s[i] == '{' {
			i = d.errorObject(i, &one, true)
		} else {
			_, _, i = d.skip(i, 3)
		}
		if i < 0 {
			return -1
		}
		if one.Code+one.Message+one.Target != "" && len(e.Details) < maxDetails {
			e.Details = append(e.Details, ErrorDetail{one.Code, one.Target, one.Message})
		}
		if i = d.space(i); i >= len(d.s) || d.s[i] != ',' && d.s[i] != ']' {
			return d.fail(i, "a comma")
		}
		if d.s[i] == ']' {
			return i + 1
		}
		i = d.space(i + 1)
	}
}

// scalar keeps a text, or the digits of a number.
func (d *decoder) scalar(i int, into *string) int {
	start := i
	_, _, next := d.skip(i, 3)
	if next < 0 {
		return -1
	}
	*into = d.s[start:next]
	switch {
	case d.s[start] == '"':
		raw, flags, _ := d.text(start)
		text, err := plainText(raw, flags)
		if err != nil {
			text = strings.ToValidUTF8(raw, "\uFFFD")
		}
		*into = text
	case d.s[start] != '-' && d.s[start]-'0' > 9:
		*into = ""
	}
	return next
}

// cut cuts text to MaxRemote bytes, between characters.
func cut(text string) string {
	if len(text) > MaxRemote {
		text = text[:MaxRemote]
		for len(text) > 0 && !utf8.RuneStart(text[len(text)-1]) {
			text = text[:len(text)-1]
		}
		if n := len(text); n > 0 && text[n-1] >= utf8.RuneSelf {
			text = text[:n-1]
		}
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

package jsonguard

import (
	"iter"
	"strconv"

	"github.com/kedge-sync/kedge"
)

// Elements yields the texts of the elements of the JSON array data, without
// the space around them. It only looks for the commas between: each text must
// still pass [Scan] or [Decode], on its own and with limits of its own, and
// all of them pass only if data is valid JSON. An error ends the loop.
func Elements(data []byte) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		i := skipSpace(data, 0)
		if i == len(data) || data[i] != '[' {
			yield(nil, refuse(kedge.Invalid, "", "must be a JSON array"))
			return
		}
		i = skipSpace(data, i+1)
		if i < len(data) && data[i] == ']' {
			if skipSpace(data, i+1) != len(data) {
				yield(nil, refuse(kedge.Invalid, "", "more than one JSON value"))
			}
			return
		}
		for n := 0; ; n++ {
			end := elementEnd(data, i)
			element := trimSpace(data[i:end])
			if end == len(data) || len(element) == 0 {
				yield(nil, refuse(kedge.Invalid, "/"+strconv.Itoa(n), "not valid JSON at byte "+strconv.Itoa(end)))
				return
			}
			if !yield(element, nil) {
				return
			}
			i = skipSpace(data, end+1)
			if data[end] == ']' {
				if i != len(data) {
					yield(nil, refuse(kedge.Invalid, "", "more than one JSON value"))
				}
				return
			}
		}
	}
}

// elementEnd returns the offset of the comma or bracket that ends the element
// at i, or len(data).
func elementEnd(data []byte, i int) int {
	for depth := 0; i < len(data); i++ {
		switch data[i] {
		case '"':
			i = stringEnd(data, i)
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				if data[i] == ']' {
					return i
				}
				return len(data)
			}
			depth--
		case ',':
			if depth == 0 {
				return i
			}
		}
	}
	return len(data)
}

// stringEnd returns the offset of the quote that ends the string at i.
func stringEnd(data []byte, i int) int {
	for i++; i < len(data) && data[i] != '"'; i++ {
		if data[i] == '\\' {
			i++
		}
	}
	return i
}

func skipSpace(data []byte, i int) int {
	for i < len(data) && isSpace(data[i]) {
		i++
	}
	return i
}

func trimSpace(data []byte) []byte {
	n := len(data)
	for n > 0 && isSpace(data[n-1]) {
		n--
	}
	return data[:n]
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

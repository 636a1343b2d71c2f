package csdl

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/kedge-sync/kedge"
)

// Parse reads a metadata document: JSON if its first byte that is not white
// space is "{", else XML. Errors have kind Invalid, or TooLarge if the entity
// sets have more than 500,000 properties.
func Parse(body []byte) (*Model, error) {
	body = bytes.TrimLeft(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")), " \t\r\n")
	read := readXML
	if bytes.HasPrefix(body, []byte("{")) {
		read = readJSON
	}
	doc, err := read(body)
	if err == nil {
		err = checkVersion(doc.version)
	}
	if err != nil {
		return nil, invalid(err)
	}
	doc.settle()
	return doc.model()
}

// errV2 is the text of all services before OData 4.0.
var errV2 = errors.New("this is an OData V2 service; kedge speaks OData 4.0 and 4.01")

var errNoMetadata = errors.New("this is not an OData metadata document")

func invalid(err error) error {
	if errors.Is(err, errV2) {
		return &kedge.Error{Kind: kedge.Invalid, Err: err}
	}
	return &kedge.Error{Op: "csdl.Parse", Kind: kedge.Invalid, Err: err}
}

func checkVersion(version string) error {
	major, _, _ := strings.Cut(version, ".")
	switch major {
	case "4":
		return nil
	case "1", "2", "3":
		return errV2
	}
	return fmt.Errorf("metadata version %.20q is not 4.0 or 4.01", version)
}

func errDepth() error { return fmt.Errorf("metadata is nested deeper than %d", MaxDepth) }

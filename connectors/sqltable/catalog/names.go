package catalog

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/store"
)

// maxName is the longest name in PostgreSQL, in bytes. It cuts longer ones
// without an error (PostgreSQL, 4.1.1).
const maxName = 63

// CheckName returns an error of kind Invalid if name cannot be the name of a
// table or column.
func CheckName(engine store.Engine, name string) error {
	switch {
	case name == "":
		return invalidName("a name is empty")
	case strings.ContainsRune(name, 0):
		return invalidName("a name holds a NUL character")
	case !utf8.ValidString(name):
		return invalidName("a name is not valid UTF-8")
	case engine == store.Postgres && len(name) > maxName:
		return invalidName(fmt.Sprintf("the name %q is %d bytes long; PostgreSQL cuts names after %d", name, len(name), maxName))
	}
	return nil
}

func invalidName(text string) error {
	return &kedge.Error{Op: "sqltable", Kind: kedge.Invalid, Err: errors.New(text)}
}

// Quote returns name as a quoted identifier. The name comes from the catalog
// or has passed [CheckName].
//
// On PostgreSQL the drivers write arguments into the text of a statement, and
// know quoted text but not quoted names. Characters that mean something to
// them are therefore escaped (PostgreSQL, 4.1.2.3, escapes in U&"…").
func Quote(engine store.Engine, name string) string {
	if engine == store.SQLite || !strings.ContainsAny(name, `'$\?`) {
		return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
	}
	return `U&"` + escaper.Replace(name) + `"`
}

var escaper = strings.NewReplacer(`"`, `""`, `'`, `\0027`, `$`, `\0024`, `\`, `\\`, `?`, `\003F`)

package trigger

import (
	"encoding/hex"
	"errors"
	"strconv"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/sqltable/catalog"
	"github.com/kedge-sync/kedge/internal/store"
)

var errNoted = errors.New("kedge_change holds a key that the table's columns cannot have")

// Values returns the values of a noted key as the database's driver would scan
// them from the columns of the key.
func Values(engine store.Engine, columns []catalog.Column, key []int, noted string) ([]any, error) {
	parts, err := kedge.Key(noted).Parts(len(key))
	if err != nil {
		return nil, errNoted
	}
	values := make([]any, len(parts))
	for i, text := range parts {
		if engine == store.SQLite {
			values[i], err = sqliteValue(text)
		} else {
			values[i], err = postgresValue(columns[key[i]].Storage, text)
		}
		if err != nil {
			return nil, errNoted
		}
	}
	return values, nil
}

// sqliteValue reverses sqlitePart.
func sqliteValue(text string) (any, error) {
	if text == "" {
		return nil, errNoted
	}
	switch text[0] {
	case 'i':
		return strconv.ParseInt(text[1:], 10, 64)
	case 'r':
		return strconv.ParseFloat(text[1:], 64)
	case 'b':
		return hex.DecodeString(text[1:])
	case 't':
		return text[1:], nil
	}
	return nil, errNoted
}

// postgresValue reverses postgresPart.
func postgresValue(s catalog.Storage, text string) (any, error) {
	switch s {
	case catalog.Bool:
		return strconv.ParseBool(text)
	case catalog.Int:
		return strconv.ParseInt(text, 10, 64)
	case catalog.Float:
		return strconv.ParseFloat(text, 64)
	case catalog.Bytes:
		return hex.DecodeString(text)
	}
	return text, nil
}

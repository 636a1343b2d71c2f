package trigger

import (
	"encoding/hex"
	"errors"
	"math"
	"strconv"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/sqltable/catalog"
	"github.com/kedge-sync/kedge/internal/store"
)

var (
	errNoted   = errors.New("kedge_change holds a key that the table's columns cannot have")
	errInexact = errors.New("the key is a number that SQLite cannot write down exactly")
)

// Values returns the values of a noted key as the database's driver would scan
// them from the columns of the key. Very large and very small numbers of SQLite
// are refused: the row would not be found, and be taken for deleted.
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
		switch {
		case errors.Is(err, errInexact):
			return nil, err
		case err != nil:
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
		f, err := strconv.ParseFloat(text[1:], 64)
		if abs := math.Abs(f); abs != 0 && (abs < 1e-9 || abs > 1e15) {
			return nil, errInexact
		}
		return f, err
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

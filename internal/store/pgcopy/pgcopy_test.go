package pgcopy_test

import (
	"encoding/binary"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
	"pgregory.net/rapid"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/store/pgcopy"
)

// fields reads the values of the first row back. nil is null.
func fields(t interface{ Fatalf(string, ...any) }, b []byte) [][]byte {
	const header = 19
	if string(b[:11]) != "PGCOPY\n\xff\r\n\x00" {
		t.Fatalf("wrong signature %q", b[:11])
	}
	n := int(binary.BigEndian.Uint16(b[header:]))
	b = b[header+2:]
	var out [][]byte
	for range n {
		size := int32(binary.BigEndian.Uint32(b))
		b = b[4:]
		if size < 0 {
			out = append(out, nil)
			continue
		}
		out = append(out, b[:size:size])
		b = b[size:]
	}
	if string(b) != "\xff\xff" {
		t.Fatalf("wrong trailer %q", b)
	}
	return out
}

// scan decodes a value as jackc/pgx does.
func scan(t interface{ Fatalf(string, ...any) }, oid uint32, data []byte, to any) {
	if err := pgtype.NewMap().Scan(oid, pgtype.BinaryFormatCode, data, to); err != nil {
		t.Fatalf("pgx cannot decode %x: %v", data, err)
	}
}

// numeric encodes text and returns what pgx makes of it.
func numeric(t interface{ Fatalf(string, ...any) }, text string) string {
	var e pgcopy.Encoder
	e.Row(1)
	e.Numeric(text)
	e.End()
	data := fields(t, e.Drain())[0]
	var n pgtype.Numeric
	scan(t, pgtype.NumericOID, data, &n)
	v, err := n.Value()
	if err != nil {
		t.Fatalf("%v", err)
	}
	if got, want := int(binary.BigEndian.Uint16(data[6:])), scaleOf(text); got != want {
		t.Fatalf("%s: scale %d, want %d", text, got, want)
	}
	return v.(string)
}

// scaleOf is how many digits PostgreSQL shows after the point.
func scaleOf(text string) int {
	mantissa, exp, _ := strings.Cut(strings.ToLower(text), "e")
	_, frac, _ := strings.Cut(mantissa, ".")
	v, _ := kedge.ParseText(kedge.TypeInt, strings.TrimPrefix(exp, "+"))
	return max(0, len(frac)-int(v.Int()))
}

func TestNumeric(t *testing.T) {
	for _, text := range []string{"0", "-0", "0.00", "1", "-1", "19.90", "9999", "10000", "10000.0001", "100000000", "0.0001", "0.00001", "-0.00012345678",
		"9007199254740993", "1234567890123456789012345678901234567890", "0.1234567890123456789012345678901234567890", "1e3", "1.5e-7", "+12E+2", "1.50e1", ".5", "5.",
		"00012.300", "1e400", "1e-400", strings.Repeat("9", 400)} {
		if !kedge.ValidDecimal(text) {
			t.Fatalf("%s is no decimal", text)
		}
		got := numeric(t, text)
		if kedge.CanonicalDecimal(got) != kedge.CanonicalDecimal(text) {
			t.Errorf("%s: pgx reads %s", text, got)
		}
	}
}

func FuzzNumeric(f *testing.F) {
	for _, s := range []string{"0", "19.90", "-1e5", "123456789.000010", "1e-9"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !kedge.ValidDecimal(text) {
			return
		}
		if got := numeric(t, text); kedge.CanonicalDecimal(got) != kedge.CanonicalDecimal(text) {
			t.Errorf("%s: pgx reads %s", text, got)
		}
	})
}

func TestRowsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b, i, f := rapid.Bool().Draw(t, "bool"), rapid.Int64().Draw(t, "int"), rapid.Float64().Draw(t, "float")
		s := rapid.String().Draw(t, "text")
		at := time.UnixMicro(rapid.Int64Range(-62135596800e6, 253402300799e6).Draw(t, "time")).UTC()
		day := kedge.Date(at).Time()
		id := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "uuid")
		var e pgcopy.Encoder
		e.Row(10)
		e.Bool(b)
		e.Int8(i)
		e.Float8(f)
		e.Text(s)
		e.Time(at)
		e.Date(day)
		uuid := pgtype.UUID{Bytes: [16]byte(id), Valid: true}
		e.UUID(uuid.String())
		e.Null()
		e.JSONB(`{"a":1}`)
		e.Int4(int32(i))
		e.End()
		row := fields(t, e.Drain())

		var gotB bool
		var gotI int64
		var gotF float64
		var gotS string
		var gotAt, gotDay time.Time
		var gotID pgtype.UUID
		var gotJSON []byte
		var got4 int32
		scan(t, pgtype.BoolOID, row[0], &gotB)
		scan(t, pgtype.Int8OID, row[1], &gotI)
		scan(t, pgtype.Float8OID, row[2], &gotF)
		scan(t, pgtype.TextOID, row[3], &gotS)
		scan(t, pgtype.TimestamptzOID, row[4], &gotAt)
		scan(t, pgtype.DateOID, row[5], &gotDay)
		scan(t, pgtype.UUIDOID, row[6], &gotID)
		scan(t, pgtype.JSONBOID, row[8], &gotJSON)
		scan(t, pgtype.Int4OID, row[9], &got4)
		if gotB != b || gotI != i || math.Float64bits(gotF) != math.Float64bits(f) || gotS != s || !gotAt.Equal(at) || !gotDay.Equal(day) ||
			gotID != uuid || row[7] != nil || string(gotJSON) != `{"a":1}` || got4 != int32(i) {
			t.Fatalf("got %v %v %v %q %v %v %v %q %v", gotB, gotI, gotF, gotS, gotAt, gotDay, gotID, gotJSON, got4)
		}
	})
}

// Texts that are no guid must not become one.
func TestWrongUUID(t *testing.T) {
	for _, s := range []string{"", "x", strings.Repeat("a", 36), "6f1a2b3c-0000-4000-8000-00000000000g", "6f1a2b3c-0000-4000-8000-00000000000a "} {
		var e pgcopy.Encoder
		e.Row(1)
		e.UUID(s)
		e.End()
		if got := fields(t, e.Drain())[0]; string(got) != s {
			t.Errorf("UUID(%q): got %x, want the text, which the server refuses", s, got)
		}
	}
}

package feed

import (
	"bytes"
	"encoding/binary"
	"strings"
	"time"
)

// EncodeCopy writes rows in the binary form of COPY (PostgreSQL documentation,
// COPY, "Binary Format").
func EncodeCopy(out *bytes.Buffer, rows []Customer) error {
	out.Reset()
	out.WriteString("PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	var b []byte
	for i := range rows {
		c := &rows[i]
		at, err := time.Parse(time.RFC3339, c.ModifiedAt)
		if err != nil {
			return err
		}
		b = append(b[:0], 0, 12)
		for _, text := range [...]string{c.No, c.Name, c.Street, c.City, c.PostCode, c.Country, c.Email} {
			b = appendText(b, text)
		}
		if c.HasPhone {
			b = appendText(b, c.Phone)
		} else {
			b = append(b, 0xff, 0xff, 0xff, 0xff) // null
		}
		b = appendNumeric(b, c.Balance)
		b = append(b, 0, 0, 0, 1, 0)
		if c.Blocked {
			b[len(b)-1] = 1
		}
		b = appendInt(b, c.RowVersion)
		b = appendInt(b, at.UnixMicro()-epoch)
		out.Write(b)
	}
	out.WriteString("\xff\xff")
	return nil
}

// epoch is 2000-01-01 in microseconds of Unix time.
const epoch = 946684800_000000

func appendText(b []byte, text string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(text))), text...)
}

func appendInt(b []byte, n int64) []byte {
	return binary.BigEndian.AppendUint64(append(b, 0, 0, 0, 8), uint64(n))
}

// appendNumeric writes a number without sign and with two digits after the
// point as groups of four digits (src/backend/utils/adt/numeric.c,
// numeric_recv).
func appendNumeric(b []byte, text string) []byte {
	whole, cents, _ := strings.Cut(text, ".")
	n := 0
	for _, digit := range []byte(whole) {
		n = n*10 + int(digit-'0')
	}
	groups := [4]uint16{uint16(n / 1_0000_0000), uint16(n / 1_0000 % 1_0000), uint16(n % 1_0000), uint16(cents[0]-'0')*1000 + uint16(cents[1]-'0')*100}
	first := 0
	for first < 2 && groups[first] == 0 {
		first++
	}
	b = binary.BigEndian.AppendUint32(b, uint32(8+2*(4-first)))
	for _, v := range [...]uint16{uint16(4 - first), uint16(2 - first), 0, 2} { // groups, weight, sign, scale
		b = binary.BigEndian.AppendUint16(b, v)
	}
	for _, g := range groups[first:] {
		b = binary.BigEndian.AppendUint16(b, g)
	}
	return b
}

package pgcopy

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/driver/pgdriver"
)

const (
	// timeout ends the wait for a server that takes no more of a COPY.
	timeout = 5 * time.Minute
	// messageSize is from how many bytes on a message is sent.
	messageSize = 64 << 10
)

// Send copies n rows into a table, which may be followed by its columns in
// parentheses. row adds row i to the encoder. It cannot fail, because pgdriver
// could not tell the server: check the values before. If the connection fails
// it is closed.
func Send(ctx context.Context, conn bun.Conn, into string, n int, row func(e *Encoder, i int)) error {
	s := &source{n: n, row: row}
	if err := conn.Raw(func(c any) error { s.conn = c.(*pgdriver.Conn).Conn(); return nil }); err != nil {
		return err
	}
	if err := s.conn.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	_, err := pgdriver.CopyFrom(ctx, conn, s, "COPY "+into+" FROM STDIN (FORMAT BINARY)")
	if _, answered := errors.AsType[pgdriver.Error](err); err != nil && !answered {
		// The server may still wait for the rest.
		closing := conn.Raw(func(c any) error { return c.(io.Closer).Close() })
		return errors.Join(err, closing)
	}
	return err
}

// A source sends the rows as the data of a COPY. It does so itself, in one Read
// of which pgdriver only sees the end: pgdriver sends messages of 1 KiB, one
// system call each.
type source struct {
	n    int
	row  func(*Encoder, int)
	conn net.Conn
	enc  Encoder
}

// Read sends everything and returns io.EOF.
func (s *source) Read([]byte) (int, error) {
	for i := range s.n {
		s.row(&s.enc, i)
		if s.enc.Len() >= messageSize {
			if err := s.flush(); err != nil {
				return 0, err
			}
		}
	}
	s.enc.End()
	if err := s.flush(); err != nil {
		return 0, err
	}
	return 0, io.EOF
}

// flush sends a CopyData message (PostgreSQL, 55.7).
func (s *source) flush() error {
	head := binary.BigEndian.AppendUint32([]byte{'d'}, uint32(4+s.enc.Len()))
	message := net.Buffers{head, s.enc.Drain()}
	_, err := message.WriteTo(s.conn)
	return err
}

package custom

import (
	"context"
	"time"
)

// tombstoneAge is how long the row of a deleted resource stays.
const tombstoneAge = 30 * 24 * time.Hour

// Expire removes what is too old of a table.
func (c *Custom) Expire(ctx context.Context, t *Table) error { return nil }

// ExpireRequests removes stored answers and sessions that are over.
func (c *Custom) ExpireRequests(ctx context.Context) error { return nil }

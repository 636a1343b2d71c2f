//go:build race

package ingest_test

// loadEvents is fewer with the race detector, which makes all take ten times
// as long.
const loadEvents = 4_000

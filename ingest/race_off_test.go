//go:build !race

package ingest_test

const loadEvents = 10_000

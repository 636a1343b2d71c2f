//go:build race

package schema_test

// slowdown is how much slower the race detector makes the validator, at most.
const slowdown = 10

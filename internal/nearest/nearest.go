// Package nearest finds the name that a misspelt one was probably meant to be.
package nearest

import "strings"

// maxWord is the longest name that is compared, in bytes: a longer one was
// not misspelt.
const maxWord = 256

// Name returns the candidate nearest to word, ignoring case, or "" if none is
// near: more than a third of the letters would have to change.
func Name(word string, candidates []string) string {
	if len(word) > maxWord {
		return ""
	}
	best, limit := "", max(1, len(word)/3)+1
	for _, c := range candidates {
		if len(c) > maxWord {
			continue
		}
		if d := Distance(strings.ToLower(word), strings.ToLower(c)); d < limit {
			best, limit = c, d
		}
	}
	return best
}

// Distance is the least number of runes to insert, delete, replace or swap
// with their neighbour that turns a into b.
func Distance(a, b string) int {
	s, t := []rune(a), []rune(b)
	var before []int
	above, row := make([]int, len(t)+1), make([]int, len(t)+1)
	for j := range above {
		above[j] = j
	}
	for i := range s {
		row[0] = i + 1
		for j := range t {
			cost := 1
			if s[i] == t[j] {
				cost = 0
			}
			row[j+1] = min(above[j+1]+1, row[j]+1, above[j]+cost)
			if i > 0 && j > 0 && s[i] == t[j-1] && s[i-1] == t[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, above, row = above, row, make([]int, len(t)+1)
	}
	return above[len(t)]
}

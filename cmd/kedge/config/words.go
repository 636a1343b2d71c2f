package config

import (
	"errors"
	"strings"
)

// Words splits a command line into words as a shell does it: at white space,
// except in single or double quotes or after a backslash. Nothing is expanded.
func Words(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	inWord, quote := false, rune(0)
	runes := []rune(line)
	for i := 0; i < len(runes); i++ {
		r := runes[i]
		switch {
		case r == '\\' && quote != '\'':
			if i++; i == len(runes) {
				return nil, errors.New("ends in a backslash")
			}
			if quote == '"' && !strings.ContainsRune(`"\$`+"`", runes[i]) {
				word.WriteRune('\\') // as in a shell
			}
			word.WriteRune(runes[i])
			inWord = true
		case quote != 0:
			if r == quote {
				quote = 0
			} else {
				word.WriteRune(r)
			}
		case r == '\'' || r == '"':
			quote, inWord = r, true
		case strings.ContainsRune(" \t\r\n", r):
			if inWord {
				words = append(words, word.String())
			}
			word.Reset()
			inWord = false
		default:
			word.WriteRune(r)
			inWord = true
		}
	}
	if quote != 0 {
		return nil, errors.New("a quote is not closed")
	}
	if inWord {
		words = append(words, word.String())
	}
	switch {
	case len(words) == 0:
		return nil, errors.New("is empty; give a command of kedge, such as \"sync crm --full\"")
	case words[0] == "kedge":
		words = words[1:]
	}
	if len(words) == 0 {
		return nil, errors.New("names no command of kedge")
	}
	return words, nil
}

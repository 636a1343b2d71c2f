#!/bin/sh
# Runs every fuzz target of the module, one after the other: fuzz.sh GO TIME.
set -eu
go=$1 time=$2
for pkg in $("$go" list ./...); do
	for target in $("$go" test -list '^Fuzz' "$pkg" | grep '^Fuzz' || true); do
		echo "== $pkg $target"
		"$go" test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 100x "$pkg"
	done
done

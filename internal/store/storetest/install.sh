#!/bin/sh
# Makes sure that the tests have PostgreSQL: a server named by
# KEDGE_TEST_POSTGRES, or the programs to start one of their own.
set -eu
[ -z "${KEDGE_TEST_POSTGRES:-}" ] || exit 0
command -v initdb >/dev/null 2>&1 && exit 0
for dir in /usr/lib/postgresql/*/bin; do
	[ -x "$dir/initdb" ] && exit 0
done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
	echo "installing PostgreSQL for the tests"
	apt-get update -qq && apt-get install -y -qq --no-install-recommends postgresql >/dev/null && exit 0
fi
echo "The tests need PostgreSQL. Run: sudo apt-get install postgresql" >&2
echo "or set KEDGE_TEST_POSTGRES to the DSN of a superuser of a running server." >&2
exit 1

#!/bin/sh
# Runs govulncheck where its database can be reached: vulncheck.sh GO TOOL.
# A machine without it is told so; a finding fails.
set -u
out=$("$1" run "$2" ./... 2>&1)
status=$?
case $out in
*"no such host"* | *"connection refused"* | *"i/o timeout"* | *"dial tcp"* | *"403"* | *"Proxy"* | *"proxyconnect"*)
	echo "govulncheck: its database cannot be reached from here; not checked"
	exit 0 ;;
esac
echo "$out"
exit $status

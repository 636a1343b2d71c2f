# Arguments: folder of the binaries, an empty directory, a port of loopback,
# fast or durable.
trap '' INT TERM HUP
bin=$1 dir=$2 port=$3 durability=$4
init() { "$bin/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --no-sync "$@" >>"$dir/log" 2>&1 </dev/null; }
# Names sort by a language's rules on most servers, so they do here, where the
# version (15 and later) has ICU.
init --locale=C.UTF-8 --locale-provider=icu --icu-locale=en-US || { rm -rf "$dir/data"; init --locale=C; } || exit 1
options="-p $port -k $dir -c listen_addresses=127.0.0.1"
if [ "$durability" = fast ]; then options="$options -c fsync=off -c full_page_writes=off"; fi
options="$options -c max_connections=200 -c shared_buffers=64MB -c max_wal_size=4GB -c autovacuum_naptime=10s"
"$bin/pg_ctl" -D "$dir/data" -l "$dir/log" -o "$options" -w start >/dev/null 2>&1 </dev/null || exit 1
echo ready
cat >/dev/null
"$bin/pg_ctl" -D "$dir/data" -m immediate -w stop >/dev/null 2>&1 </dev/null
cd / && rm -rf "$dir"

#!/usr/bin/env bash
# DuckDB reads an export as Parquet, CSV and NDJSON, and all three say the same: what find says of the tree.
. "$(dirname "$0")/lib.sh"
need_python duckdb
start_pair

for format in parquet csv ndjson; do
    "$bin_dir/fusionctl" --server "http://$grpc" export --view demo / --format "$format" --file "$work/export.$format"
done
# A file of a part of it, with chosen columns.
"$bin_dir/fusionctl" --server "http://$grpc" export --view demo /dir --format parquet --type file \
    --columns size,path --file "$work/part.parquet"
(cd "$work/tree" && find . -mindepth 1 -printf '/%P\t%y\t%s\t%i\t%m\t%U\t%G\t%n\t%T@\n' | LC_ALL=C sort) >"$work/found"

strangers-python "$repo/tests/strangers/parquet.py" "$work" || fail "DuckDB reads something else"
if "$bin_dir/fusionctl" --server "http://$grpc" export --view demo / --format parquet --file "$work/part.parquet"; then
    fail "a file that exists is written over"
fi
ok "a file that exists stays as it is"
stop_all

#!/usr/bin/env bash
# promtool accepts the metrics of server and agent: they parse, and are named and described well.
. "$(dirname "$0")/lib.sh"
need promtool curl
start_pair

for side in server agent; do
    if [ "$side" = server ]; then url=http://$http/metrics; else url=http://$agent_http/metrics; fi
    curl -sSf --max-time 10 "$url" >"$work/$side.metrics"
    grep -q '^fusion_' "$work/$side.metrics" || fail "the $side has no metric of ours"
    # promtool exits 0 in spite of some complaints: it must say nothing.
    problems=$(promtool check metrics <"$work/$side.metrics" 2>&1) || fail "promtool on the $side's metrics: $problems"
    same "promtool says nothing against the $side's metrics" "" "$problems"
done
for path in livez readyz; do
    same "$path" 200 "$(curl -sS --max-time 10 -o "$work/body" -w '%{http_code}' "http://$http/$path")"
done

stop_all

#!/usr/bin/env bash
# A real Prometheus that scrapes a real pair has an answer to every query of the Grafana dashboard and every
# expression of the rules, save those that need a fault, which are named; prints each with its series.
. "$(dirname "$0")/lib.sh"
need prometheus strangers-python curl
start_pair

prometheus=127.0.0.1:$(free_port)
mkdir "$work/rules"
cp "$repo"/deploy/prometheus/*.yaml "$work/rules"
sed -i 's/interval: 30s/interval: 1s/' "$work/rules/recording.yaml"
cat >"$work/prometheus.yaml" <<END
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: ["$work/rules/*.yaml"]
scrape_configs:
  - {job_name: fusion-server, static_configs: [{targets: ["$http"]}]}
  - {job_name: fusion-agent, static_configs: [{targets: ["$agent_http"]}]}
END
prometheus --config.file="$work/prometheus.yaml" --storage.tsdb.path="$work/tsdb" \
    --web.listen-address="$prometheus" >"$work/prometheus.log" 2>&1 </dev/null &
pids=($! "${pids[@]}")

# What an idle pair does not do: somebody watches, something changes, an audit, a search.
"$bin_dir/fusionctl" --server "http://$grpc" watch --view demo / >"$work/watch.log" 2>&1 </dev/null &
watcher=$!
pids=("$watcher" "${pids[@]}")
"$bin_dir/fusionctl" --server "http://$grpc" audit --view demo >"$work/audit.log"
echo more >"$work/tree/dir/more.txt"

"$bin_dir/fusionctl" --server "http://$grpc" find --view demo >"$work/find.log"

# has_answer QUERY: Prometheus gives a series.
has_answer() {
    curl -sSf --max-time 10 --data-urlencode "query=$1" "http://$prometheus/api/v1/query" | grep -q '"value"'
}
# Calls, until the second scrape of one is there.
calls_are_measured() {
    "$bin_dir/fusionctl" --server "http://$grpc" ls --view demo / &&
        has_answer 'fusion:rpc_seconds:p99_5m{method="fusion.v1.ViewService/ListEntries"} >= 0'
}
within 60 "rates of the agent" has_answer "rate(fusion_agent_scan_entries_total[1m])"
within 60 "rates of calls" calls_are_measured
within 60 "the watcher's changes" has_answer "rate(fusion_watch_events_total[1m])"

strangers-python "$repo/tests/strangers/dashboard.py" "http://$prometheus" "$repo/deploy/grafana/fusion.json" ||
    fail "a query has no answer"
ok "every query of the dashboard and the rules has an answer"

pids=("${pids[@]:1}")
stop "$watcher" || true
stop_all

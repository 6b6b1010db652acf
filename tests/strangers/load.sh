#!/usr/bin/env bash
# h2load and k6 load the server's edge, and it is begun anew three times under k6's load: every call is answered OK
# in the end, no session is lost, and the view is what is on the disk. On sockets that outlive it the same goes by without
# a call that was tried again or a heartbeat that failed. The figures are told, and judged nowhere.
. "$(dirname "$0")/lib.sh"
need h2load k6 curl
need_python socket
ulimit -n "$(ulimit -Hn)"
[ "$(ulimit -n)" = unlimited ] || [ "$(ulimit -n)" -ge 12000 ] || fail "10,000 connections want 12,000 descriptors; the system gives $(ulimit -n)"

start_pair
# A message of gRPC is framed: no compression, its length, its bytes.
printf '\0\0\0\0\0' >"$work/health.bin"
printf '\0\0\0\0\011\012\004demo\022\001/' >"$work/entry.bin" # view "demo", path "/"

# h2load_of MESSAGE METHOD COUNT
h2load_of() {
    h2load -n "$3" -c 20 -m 10 -H 'content-type: application/grpc' -H 'te: trailers' -d "$work/$1" \
        "http://$grpc/$2" >"$work/h2load.said" 2>&1 || fail "$(cat "$work/h2load.said")"
    contains "h2load: $3 calls of $2 at $(sed -nE 's/^finished in [^,]*, ([0-9.]+) req.*/\1/p' "$work/h2load.said") a second" \
        "$(cat "$work/h2load.said")" "$3 succeeded, 0 failed, 0 errored, 0 timeout"
    # HTTP says 200 also of what is refused: the server's own count tells.
    same "the server ended as many calls of $2, all OK" "$3" \
        "$(curl -s "http://$http/metrics" | sed -nE "s|^fusion_rpc_requests_total\{code=\"OK\",method=\"$2\"\} ([0-9]+)$|\1|p")"
}
h2load_of health.bin grpc.health.v1.Health/Check 5000
# The view was asked for before, as it became whole, by other methods.
h2load_of entry.bin fusion.v1.ViewService/GetEntry 5000

# 10,000 connections that have begun and say nothing more; who asks meanwhile is served.
resident() {
    awk '/^VmRSS:/ {print int($2 / 1024)}' "/proc/${pids[-1]}/status"
}
alone=$(resident)
strangers-python - "$grpc" "$work/idle" >"$work/idle.said" 2>&1 <<'END' &
import os, socket, sys, time
host, port = sys.argv[1].split(":")
begin = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"  # the preface, and settings: none
held = []
for _ in range(10_000):
    held.append(socket.create_connection((host, int(port))))
    held[-1].sendall(begin)
open(sys.argv[2], "w").close()
while os.path.exists(sys.argv[2]):
    time.sleep(0.05)
END
idle=$! pids=("$idle" "${pids[@]}")
within 60 "10,000 connections" test -e "$work/idle"
curl -s "http://$http/metrics" >"$work/metrics.said"
open=$(sed -nE 's/^fusion_connections ([0-9]+)$/\1/p' "$work/metrics.said")
[ "$open" -ge 10000 ] || fail "only $open connections stand"
h2load_again() {
    h2load -n 500 -c 5 -H 'content-type: application/grpc' -H 'te: trailers' -d "$work/entry.bin" \
        "http://$grpc/fusion.v1.ViewService/GetEntry" >"$work/h2load.said" 2>&1 || fail "$(cat "$work/h2load.said")"
    contains "h2load is served beside $open connections, for which the server has $(($(resident) - alone)) MB more" \
        "$(cat "$work/h2load.said")" "500 succeeded, 0 failed, 0 errored, 0 timeout"
}
h2load_again
rm "$work/idle"
wait "$idle" || fail "$(cat "$work/idle.said")"
pids=("${pids[@]:1}")

session() {
    "$bin_dir/fusionctl" --server "http://$grpc" --output json sessions | grep -oE '"session_id": *"[^"]+"'
}
on_disk() {
    (cd "$work/tree" && find . -mindepth 1 | sed 's|^\.||' | sort)
}
is_on_disk() {
    diff <(on_disk) <("$bin_dir/fusionctl" --server "http://$grpc" find --view demo / | sed 's|/$||' | grep -v '^/$' | sort)
}

# three_times HOW COMMAND...: the command, which begins the server anew, three times beside k6 and a tree that changes.
three_times() {
    local how=$1 before k6 round status=0
    shift
    before=$(session)
    k6 run -q -e PROTO="$repo/proto" -e SERVER="$grpc" -e VIEW=demo -e SECONDS=15 "$repo/tests/load/edge.js" >"$work/k6.said" 2>&1 &
    k6=$! pids=("$k6" "${pids[@]}")
    for round in 1 2 3; do
        sleep 2
        mkdir -p "$work/tree/$how$round" && seq "$round" >"$work/tree/$how$round/file"
        "$@" "$round"
    done
    wait "$k6" || status=$?
    pids=("${pids[@]:1}")
    same "k6: every call was answered OK in the end" 0 "$status"
    sed -nE 's/^ *(checks_succeeded|fusion_tried_again|grpc_req_duration)\.*: /k6: \1 /p' "$work/k6.said"
    same "the agent's session is that of before" "$before" "$(session)"
    within 30 "the view to be what is on the disk" is_on_disk
    ok "view = disk after three restarts under load: $(on_disk | wc -l) entries"
}

begin_anew() {
    local status=0
    stop "${pids[-1]}" || status=$?
    same "round $1: the server ends gracefully under load" 0 "$status"
    "$bin_dir/fusion-server" --listen "$grpc" --http-listen "$http" --data-dir "$work/data" \
        >>"$work/server.log" 2>&1 </dev/null &
    pids[-1]=$!
    within 20 "the server's next life" curl -sf "http://$http/readyz"
}
three_times plain begin_anew
contains "k6 saw that the server was away" "$(cat "$work/k6.said")" fusion_tried_again
stop_all

# The same on sockets that are handed over to each life: who comes meanwhile waits. The agent beats each second.
rm "$work/server.address" "$work/agent.address"
FUSION_SERVER__VIEW_DEFAULTS__SESSION_TIMEOUT=3s strangers-python "$repo/tests/strangers/activated.py" "$bin_dir/fusion-server" --data-dir "$work/data" \
    --address-file "$work/server.address" >"$work/lives.log" 2>&1 </dev/null &
pids=($!)
within 20 "the addresses of the sockets" has_address "$work/server.address" grpc http
grpc=$(address "$work/server.address" grpc) http=$(address "$work/server.address" http)
start_agent
within 30 "the view to be what is on the disk" is_on_disk

hand_over() {
    kill -HUP "${pids[-1]}"
    within 20 "the server's next life" grep -qx "life $(($1 + 1))" "$work/lives.log"
    ok "round $1: the server ends gracefully under load, and its next life has its sockets"
}
three_times handed-over hand_over
if grep fusion_tried_again "$work/k6.said"; then fail "k6 saw that the server was away"; fi
ok "k6: no call was tried again"
beats=$(curl -s "http://$agent_http/metrics" | sed -nE 's/^fusion_agent_heartbeats_total\{.*outcome="([a-z]+)".*\} ([0-9]+)$/\1 \2/p')
grep -qE '^ok [1-9]' <<<"$beats" || fail "no heartbeat was answered: $beats"
if grep -vE '^ok |^[a-z]+ 0$' <<<"$beats"; then fail "heartbeats failed: $beats"; fi
ok "the agent's heartbeats, none failed: $beats"
stop_all

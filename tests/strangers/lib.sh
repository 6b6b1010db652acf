# What the checks share; each is `tests/strangers/NAME.sh BIN_DIR` and sources this file.
# BIN_DIR holds fusion-server, agent-client and fusionctl. A check works in a temporary folder,
# starts what it needs on free loopback ports and ends exactly what it started.
# shellcheck shell=bash
set -euo pipefail

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
bin_dir=${1:?usage: $0 BIN_DIR}
bin_dir=$(cd "$bin_dir" && pwd)
work=$(mktemp -d)
pids=() # the processes to end, in this order
server_args=() # more arguments of the server
cache=${FUSION_CI_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/fusion-ci}
# shellcheck source=/dev/null
if [ -f "$cache/env" ]; then . "$cache/env"; fi
unset OTEL_EXPORTER_OTLP_ENDPOINT OTEL_SERVICE_NAME OTEL_RESOURCE_ATTRIBUTES OTEL_SDK_DISABLED

fail() {
    echo "FAIL: $*" >&2
    exit 1
}

ok() {
    echo "ok: $*"
}

# missing TOOL: the check fails, or says loudly that it was not run.
missing() {
    [ "${FUSION_ALLOW_MISSING:-}" = 1 ] || fail "$1 is missing: run .ci/install"
    echo "NOT RUN: $(basename "$0"): $1 is missing"
    exit 77
}

# need TOOL...
need() {
    local tool
    for tool in "$@"; do command -v "$tool" >/dev/null || missing "$tool"; done
}

# need_python MODULE...
need_python() {
    local module
    need strangers-python
    for module in "$@"; do strangers-python -c "import $module" 2>/dev/null || missing "Python's $module"; done
}

# within SECONDS WHAT COMMAND...: polls until the command succeeds.
within() {
    local limit=$((SECONDS + $1)) what=$2 pid
    shift 2
    until "$@" >"$work/last" 2>&1; do
        for pid in "${pids[@]}"; do
            kill -0 "$pid" 2>/dev/null || fail "process $pid ended while waiting for $what"
        done
        [ "$SECONDS" -lt "$limit" ] || fail "waited in vain for $what; last answer: $(tail -n 5 "$work/last")"
        sleep 0.1
    done
}

# same WHAT EXPECTED ACTUAL
same() {
    [ "$2" = "$3" ] || fail "$1: expected '$2', got '$3'"
    ok "$1"
}

# contains WHAT TEXT NEEDLE...: each needle is in the text, which may differ in white space.
contains() {
    local what=$1 text needle
    text=$(tr -d ' \n' <<<"$2")
    shift 2
    for needle in "$@"; do
        [[ $text == *"$(tr -d ' \n' <<<"$needle")"* ]] || fail "$what: no '$needle' in: $text"
    done
    ok "$what"
}

# free_port: a port of loopback that nobody has.
free_port() {
    strangers-python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# address FILE KEY: the value of a line of an address file.
address() {
    sed -n "s/^$2=//p" "$1"
}

# has_address FILE KEY...: the file has a line for each key.
has_address() {
    local file=$1 key
    shift
    for key in "$@"; do grep -qE "^$key=[^:]+:[1-9][0-9]*$" "$file" || return; done
}

# authority NAME: a CA, its key and certificate in $work/tls.
authority() {
    mkdir -p "$work/tls"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -days 2 \
        -keyout "$work/tls/$1.key" -out "$work/tls/$1.crt" >>"$work/openssl.log" 2>&1
}

# certificate NAME SAN [CA [DAYS]]: a key and a certificate for it in $work/tls, which the CA signed.
certificate() {
    local file=$work/tls/$1 ca=$work/tls/${3:-ca}
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" \
        -keyout "$file.key" -out "$file.csr" >>"$work/openssl.log" 2>&1
    openssl x509 -req -in "$file.csr" -CA "$ca.crt" -CAkey "$ca.key" -days "${4:-2}" \
        -extfile <(printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\n' "$2") \
        -out "$file.crt" >>"$work/openssl.log" 2>&1
}

view_is_whole() {
    "$bin_dir/fusionctl" --server "http://$grpc" --output json du --view demo / >"$work/du.json" &&
        contains totals "$(cat "$work/du.json")" '"files":3' '"directories":2' '"others":1' '"bytes":60'
}

# start_server [NAME=VALUE...]: sets $grpc and $http.
start_server() {
    rm -f "$work/server.address"
    env "$@" "$bin_dir/fusion-server" --listen 127.0.0.1:0 --http-listen 127.0.0.1:0 \
        --data-dir "$work/data" --address-file "$work/server.address" \
        "${server_args[@]}" >"$work/server.log" 2>&1 </dev/null &
    pids=($! "${pids[@]}")
    within 20 "the server's addresses" has_address "$work/server.address" grpc http
    grpc=$(address "$work/server.address" grpc) http=$(address "$work/server.address" http)
}

# start_agent [NAME=VALUE...]: view `demo` on a tree of 3 files (60 bytes), 2 directories and a
# symlink; sets $agent_http.
start_agent() {
    mkdir -p "$work/tree/dir/sub"
    printf %010d 1 >"$work/tree/a.txt"
    printf %020d 2 >"$work/tree/dir/b.txt"
    printf %030d 3 >"$work/tree/dir/sub/c.dat"
    ln -sfn a.txt "$work/tree/link"
    env "$@" "$bin_dir/agent-client" --server "http://$grpc" --view demo --root "$work/tree" \
        --agent-id stranger --spool "$work/spool" --http-listen 127.0.0.1:0 \
        --address-file "$work/agent.address" >"$work/agent.log" 2>&1 </dev/null &
    pids=($! "${pids[@]}")
    within 20 "the agent's address" has_address "$work/agent.address" http
    agent_http=$(address "$work/agent.address" http)
}

# start_pair [NAME=VALUE...]: server and agent with these environment variables, and a whole view.
start_pair() {
    start_server "$@"
    start_agent "$@"
    within 30 "the view to be whole" view_is_whole
}

# stop PID: SIGTERM, and SIGKILL for who does not end in time. Gives the exit status.
stop() {
    local limit=$((SECONDS + 15))
    kill -TERM "$1" 2>/dev/null || true
    while kill -0 "$1" 2>/dev/null && [ "$SECONDS" -lt "$limit" ]; do sleep 0.05; done
    kill -KILL "$1" 2>/dev/null || true
    wait "$1"
}

# stop_all: ends what was started, the last one first; each must end by itself with 0.
stop_all() {
    local ended=("${pids[@]}") pid name status
    pids=()
    for pid in "${ended[@]}"; do
        name=$(cat "/proc/$pid/comm" 2>/dev/null || echo "$pid, which ended before,")
        status=0
        stop "$pid" || status=$?
        same "$name ends gracefully" 0 "$status"
    done
}

cleanup() {
    local status=$? pid log
    for pid in "${pids[@]}"; do stop "$pid" || true; done
    if [ "$status" != 0 ] && [ "$status" != 77 ]; then
        for log in "$work"/*.log; do
            [ -f "$log" ] || continue
            echo "--- last lines of $(basename "$log")"
            tail -n 20 "$log"
        done
    fi
    rm -rf "$work"
}
trap cleanup EXIT

#!/usr/bin/env bash
# Several servers as deploy/compose and deploy/overlays/cluster start them, on this machine: docker-compose and kubectl
# render them, real nats-servers and our servers run with the arguments, environments and configurations that come
# of it, with ports and folders of this machine. What no test of ours can say: that these files fit each other.
. "$(dirname "$0")/lib.sh"
need kubectl docker-compose nats-server openssl curl
need_python yaml
mkdir -p "$work/tree/dir/sub"
printf %010d 1 >"$work/tree/a.txt"
printf %020d 2 >"$work/tree/dir/b.txt"
printf %030d 3 >"$work/tree/dir/sub/c.dat"

# begin NAME: starts what cluster.py wrote of it; its process is in ${ids[NAME]}.
declare -A ids
begin() {
    local args environment
    mapfile -t args <"$work/$1.args"
    mapfile -t environment <"$work/$1.env"
    mkdir -p "$work/$1.data"
    env "${environment[@]}" PATH="$bin_dir:$PATH" "${args[@]}" >"$work/$1.log" 2>&1 </dev/null &
    ids[$1]=$!
    pids=($! "${pids[@]}")
}

# forget NAME: it has ended, or is to be ended by hand.
forget() {
    local pid kept=()
    for pid in "${pids[@]}"; do [ "$pid" = "${ids[$1]}" ] || kept+=("$pid"); done
    pids=("${kept[@]}")
}

# at NUMBER ARGUMENT...: fusionctl at one of the servers.
at() {
    local server=$1
    shift
    "$bin_dir/fusionctl" --server "$scheme://localhost:${grpc[$((server - 1))]}" "${identity[@]}" "$@"
}
whole_at() {
    at "$1" --output json du --view shared / >"$work/du.json" && grep -q '"files":3' <(tr -d ' \n' <"$work/du.json")
}
ready_at() {
    at "$1" --output json views >"$work/views.json" && grep -q '"state":"READY"' <(tr -d ' \n' <"$work/views.json")
}
sessions() {
    at "$1" --output json sessions --view shared | tr -d ' \n' | grep -oE '"session_id":"[^"]*"'
}
# owned_again SERVER: sets $owner to the server that took the view last, by the logs; it is not SERVER.
owned_again() {
    local number said
    said=$(for number in 1 2 3; do
        grep -h "the view is this server's" "$work/server-$number.log" | grep -oE '20[0-9-]+T[0-9:.]+Z' |
            sed "s/\$/ $number/" || true
    done | sort | tail -n 1)
    owner=${said##* }
    [ -n "$owner" ] && [ "$owner" != "$1" ]
}

# cluster KIND RENDERED: begins all of it, has the owner killed, and ends the rest.
cluster() {
    local ports=() number name survivor asked was status
    for _ in $(seq 15); do ports+=("$(free_port)"); done
    grpc=("${ports[@]:9:3}")
    strangers-python "$repo/tests/strangers/cluster.py" "$1" "$2" "$work" "${ports[@]}"
    for number in 1 2 3; do
        begin "nats-$number"
    done
    for number in 0 1 2; do
        within 30 "NATS $((number + 1)) to be well" curl -sf "http://127.0.0.1:${ports[6 + number]}/healthz"
    done
    contains "$1: NATS syncs what it acknowledges" "$(curl -sf "http://127.0.0.1:${ports[6]}/jsz?config=true")" \
        '"sync_always": true' '"cluster_size": 3'
    for number in 1 2 3; do
        begin "server-$number"
    done
    for number in 1 2 3; do
        within 30 "server $number to be ready" curl -sf "http://127.0.0.1:${ports[11 + number]}/readyz"
        contains "$1: what server $number acknowledges outlives power" \
            "$(at "$number" status) $(cat "$work/server-$number.log")" "outlives power" "which syncs each write"
    done
    within 30 "an owner" owned_again none
    # The agent is given one address, which is to outlive the owner; in earnest all servers have one name. A call of
    # who is known by a certificate alone is not sent on to the owner, so over TLS it is given the owner's.
    survivor=$((owner % 3 + 1)) was=$owner asked=$owner
    [ "$scheme" = https ] || asked=$survivor
    sed -i "s#localhost:${grpc[0]}#localhost:${grpc[asked - 1]}#" "$work/agent.args"
    begin agent
    for number in 1 2 3; do
        within 60 "the whole view at server $number" whole_at "$number"
        within 30 "server $number to say READY" ready_at "$number"
    done
    ok "$1: three servers answer for the whole view, and say that it is"
    sessions "$asked" >"$work/sessions"
    kill -KILL "${ids[server-$owner]}"
    wait "${ids[server-$owner]}" 2>/dev/null || true
    forget "server-$owner"
    within 30 "another owner" owned_again "$was"
    if [ "$scheme" = http ]; then
        printf %040d 4 >"$work/tree/dir/late.txt"
        within 60 "what came after the owner was killed" at "$survivor" stat --view shared /dir/late.txt
        within 60 "the view to be READY again" ready_at "$survivor"
        same "$1: the agent's session is that of before" "$(cat "$work/sessions")" "$(sessions "$survivor")"
        rm "$work/tree/dir/late.txt"
    fi
    ok "$1: server $was was killed, server $owner owns the view"
    for name in agent server-1 server-2 server-3 nats-1 nats-2 nats-3; do
        [ "$name" != "server-$was" ] || continue
        forget "$name"
        status=0
        stop "${ids[$name]}" || status=$?
        # NATS ends with 1 at SIGTERM.
        case $name in nats*) ;; *) same "$1: $name ends gracefully" 0 "$status" ;; esac
        rm -rf "$work/$name.data"
    done
    rm -rf "$work/server-$was.data"
}

scheme=http identity=()
FUSION_TREE=$work/tree docker-compose -f "$repo/deploy/compose/compose.yaml" config --format json >"$work/compose.json" ||
    fail "docker-compose refuses deploy/compose"
ok "docker-compose $(docker-compose version --short) takes deploy/compose"
if docker-compose -f "$repo/deploy/compose/compose.yaml" config -q >"$work/last" 2>&1; then fail "a tree is made up"; fi
contains "without FUSION_TREE it says what is missing" "$(cat "$work/last")" "the directory that the agent is to look at"
strangers-python - "$work/compose.json" <<'END' || fail "a container of deploy/compose may do more than it needs"
import json, sys
for name, service in json.load(open(sys.argv[1]))["services"].items():
    assert service["read_only"] and service["cap_drop"] == ["ALL"], name
    assert service["security_opt"] == ["no-new-privileges:true"], name
    assert all(port["host_ip"] == "127.0.0.1" for port in service.get("ports", [])), name
    if name == "nats-volumes":
        assert service["cap_add"] == ["CHOWN"] and service["network_mode"] == "none"
    else:
        assert service["user"] == "65532:65532" and service["healthcheck"]["test"], name
        assert "cap_add" not in service, name
END
ok "deploy/compose: read-only, not root, no capability, health checks, loopback only"
cluster compose "$work/compose.json"

authority ca
certificate server "DNS:fusion-server,DNS:localhost"
certificate nats "DNS:fusion-nats,DNS:localhost"
certificate agent "DNS:fusion-agent,DNS:localhost"
for name in server nats agent; do
    # As the kubelet mounts a Secret.
    mkdir "$work/$name-tls"
    cp "$work/tls/$name.crt" "$work/$name-tls/tls.crt"
    cp "$work/tls/$name.key" "$work/$name-tls/tls.key"
    cp "$work/tls/ca.crt" "$work/$name-tls/ca.crt"
done
scheme=https
identity=(--ca "$work/tls/ca.crt" --client-certificate "$work/tls/server.crt" --client-key "$work/tls/server.key")
kubectl kustomize "$repo/deploy/overlays/cluster" >"$work/overlay.yaml"
cluster overlay "$work/overlay.yaml"

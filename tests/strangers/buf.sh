#!/usr/bin/env bash
# buf lints the contract, finds nothing in it that breaks clients of the last release (docs/api.md), and lists, describes
# and calls over reflection v1 and v1alpha.
. "$(dirname "$0")/lib.sh"
need buf
(cd "$repo/proto" && buf lint) || fail "buf lint"
ok "buf lint"

# breaks DIR: whether the contract there breaks clients of the last release; what buf says is in $work/breaks.
breaks() {
    ! (cd "$1" && buf breaking --against "$repo/proto/released.binpb") >"$work/breaks" 2>&1
}
if breaks "$repo/proto"; then fail "$(cat "$work/breaks")"; fi
ok "buf breaking: clients of the last release are right as before"
# That it sees a method that is gone, a field with another number and one of another type.
for change in 's/rpc GetStats(/rpc GetTotals(/' 's/string page_token = 2;/string page_token = 22;/' 's/int32 page_size = 1;/string page_size = 1;/'; do
    rm -rf "$work/changed"
    cp -r "$repo/proto" "$work/changed"
    sed -i "$change" "$work/changed/fusion/v1/view_service.proto"
    breaks "$work/changed" || fail "buf breaking has nothing against $change"
done
ok "buf breaking: sees what would break them"
start_pair

url=http://$grpc
call() {
    local path=$1
    shift
    timeout 20 buf curl --http2-prior-knowledge --protocol grpc "$@" "$url$path"
}

session=$(cat /proc/sys/kernel/random/uuid)
for reflection in grpc-v1 grpc-v1alpha; do
    with=(--reflect-protocol "$reflection")
    contains "$reflection: list services" "$(call "" "${with[@]}" --list-services)" \
        fusion.v1.SessionService fusion.v1.EventService fusion.v1.ViewService fusion.v1.AdminService
    contains "$reflection: list methods" "$(call "" "${with[@]}" --list-methods)" \
        fusion.v1.SessionService/Heartbeat fusion.v1.EventService/PushEvents fusion.v1.ViewService/FindEntries
    contains "$reflection: unary call" "$(call /fusion.v1.ViewService/GetStats "${with[@]}" -d '{"view":"demo","path":"/"}')" \
        '"files": "3"' '"bytes": "60"'
    contains "$reflection: server stream" \
        "$(call /fusion.v1.ViewService/FindEntries "${with[@]}" -d '{"view":"demo","path":"/","nameGlob":"*.dat"}')" \
        '"path": "/dir/sub/c.dat"'
    status=0
    answer=$(call /fusion.v1.SessionService/Heartbeat "${with[@]}" -d "{\"sessionId\":\"$session\"}" 2>&1) || status=$?
    [ "$status" != 0 ] || fail "$reflection: an unknown session is answered OK"
    contains "$reflection: obsolete session" "$answer" '"code": "aborted"' google.rpc.ErrorInfo
    # buf prints a detail as the base64 of its bytes; unpadded, which base64(1) complains about.
    info=$(sed -n 's/.*ErrorInfo"[^}]*"value": *"\([^"]*\)".*/\1/p' <<<"$(tr -d '\n' <<<"$answer")")
    contains "$reflection: its reason" "$(base64 -d <<<"$info" 2>/dev/null | tr -d '\0')" SESSION_OBSOLETE
done

# What is served is what is in the repository.
buf build "$repo/proto" -o "$work/contract.binpb"
contains "call by the repository's contract" \
    "$(call /fusion.v1.ViewService/ListViews --schema "$work/contract.binpb")" '"name": "demo"'

stop_all

#!/usr/bin/env bash
# grpcurl 1.8.6 (reflection v1alpha only) lists, describes and calls every service.
. "$(dirname "$0")/lib.sh"
need grpcurl
start_pair

call() {
    grpcurl -plaintext -max-time 10 "$@"
}

# refused WHAT DATA METHOD NEEDLE...: the call fails, and its error with its details says so.
refused() {
    local what=$1 data=$2 method=$3 answer
    shift 3
    if answer=$(call -format-error -d "$data" "$grpc" "$method" 2>&1); then
        fail "$what: answered OK: $answer"
    fi
    contains "$what" "$answer" "$@"
}

services=$(call "$grpc" list)
contains "list" "$services" fusion.v1.SessionService fusion.v1.EventService fusion.v1.ViewService \
    fusion.v1.AdminService grpc.health.v1.Health grpc.reflection.v1alpha.ServerReflection

described=0
for service in $services; do
    case $service in grpc.reflection.*) continue ;; esac
    call "$grpc" describe "$service" >"$work/service"
    while read -r method; do
        call "$grpc" describe "$method" >"$work/method"
        grep -q "rpc ${method##*.}" "$work/method" || fail "describe $method: $(cat "$work/method")"
        grep 'rpc ' "$work/method" | grep -oE '\.[A-Za-z0-9.]+' >"$work/messages"
        while read -r message; do
            call "$grpc" describe "$message" >"$work/message"
            grep -q '^message ' "$work/message" || fail "describe $message: $(cat "$work/message")"
        done <"$work/messages"
        described=$((described + 1))
    done < <(call "$grpc" list "$service")
    if [[ $service == fusion.* ]]; then
        call "$grpc" describe "$service" | grep -q '^ *//' || fail "$service is described without its comments"
    fi
done
[ "$described" -ge 16 ] || fail "only $described methods described"
ok "describe: $described methods with their messages, and comments"

session=$(cat /proc/sys/kernel/random/uuid) # a UUID v4 that nobody has
obsolete=('"code": 10' '"@type": "type.googleapis.com/google.rpc.ErrorInfo"' '"domain": "fusion.v1"'
    '"reason": "SESSION_OBSOLETE"' '"cause": "UNKNOWN"' "\"session_id\": \"$session\"")
refused "Heartbeat of an unknown session" "{\"session_id\":\"$session\"}" \
    fusion.v1.SessionService/Heartbeat "${obsolete[@]}"
refused "PushEventBatch of an unknown session" \
    "{\"session_id\":\"$session\",\"lane\":\"LANE_SCAN\",\"batch\":{\"sequence\":1}}" \
    fusion.v1.EventService/PushEventBatch "${obsolete[@]}"
refused "PushEvents of an unknown session" \
    "{\"opening\":{\"session_id\":\"$session\",\"lane\":\"LANE_SCAN\",\"first_held\":1,\"next\":1}}" \
    fusion.v1.EventService/PushEvents "${obsolete[@]}"
refused "EndSession of an unknown session" "{\"session_id\":\"$session\"}" \
    fusion.v1.SessionService/EndSession '"code": 5' '"reason": "SESSION_NOT_FOUND"' '"domain": "fusion.v1"'
same "EndSession with allow_missing" "{}" \
    "$(call -d "{\"session_id\":\"$session\",\"allow_missing\":true}" "$grpc" fusion.v1.SessionService/EndSession | tr -d ' \n')"
refused "Heartbeat with a malformed session id" '{"session_id":"no-uuid"}' \
    fusion.v1.SessionService/Heartbeat '"code": 3' '"reason": "INVALID_ARGUMENT"' '"field": "session_id"'
refused "GetStats of an unknown view" '{"view":"nobody","path":"/"}' \
    fusion.v1.ViewService/GetStats '"code": 5' '"reason": "VIEW_NOT_FOUND"'
refused "ListEntries of a path with .." '{"view":"demo","path":"/dir/.."}' \
    fusion.v1.ViewService/ListEntries '"code": 3' '"reason": "INVALID_ARGUMENT"' '"field": "path"'

contains "ListSessions" "$(call "$grpc" fusion.v1.SessionService/ListSessions)" \
    '"stranger"' SESSION_STATE_ACTIVE SESSION_ROLE_LEADER
contains "ListViews" "$(call "$grpc" fusion.v1.ViewService/ListViews)" \
    '"name": "demo"' VIEW_STATE_READY '"stranger"'
contains "GetStats" "$(call -d '{"view":"demo","path":"/","read_class":"READ_CLASS_TRUSTED"}' \
    "$grpc" fusion.v1.ViewService/GetStats)" '"files": "3"' '"directories": "2"' '"others": "1"' '"bytes": "60"'
contains "GetEntry" "$(call -d '{"view":"demo","path":"/dir/b.txt"}' "$grpc" fusion.v1.ViewService/GetEntry)" \
    '"path": "/dir/b.txt"' ENTRY_KIND_FILE '"size": "20"'
listing=$(call -d '{"view":"demo","path":"/dir"}' "$grpc" fusion.v1.ViewService/ListEntries)
contains "ListEntries" "$listing" '"path": "/dir/b.txt"' '"path": "/dir/sub"' ENTRY_KIND_DIRECTORY
same "ListEntries lists the children only" 2 "$(grep -c '"path"' <<<"$listing")"
found=$(call -d '{"view":"demo","path":"/","name_glob":"*.txt"}' "$grpc" fusion.v1.ViewService/FindEntries)
contains "FindEntries" "$found" '"path": "/a.txt"' '"path": "/dir/b.txt"'
same "FindEntries finds what matches only" 2 "$(grep -c '"path"' <<<"$found")"

stop_all

#!/usr/bin/env bash
# Every refusal that this server gives, as grpcurl prints it: provoked here, and compared with
# docs/refusals.md, so that what the documentation shows stays true. With FUSION_WRITE_DOCS=1 the file
# is written instead.
. "$(dirname "$0")/lib.sh"
need grpcurl

shown=$repo/docs/refusals.md
made=$work/refusals.md
nobody=00000000-0000-4000-8000-00000000dead # a session that nobody has

cat >"$work/server.toml" <<'TOML'
max_views = 4
auto_create_views = true
[views.demo]
[views.alone]
exclusive = true
[views.brief]
session_timeout = "1s"
[views.new]
TOML
server_args=(--config "$work/server.toml")
start_server
start_agent
within 30 "the view to be whole" view_is_whole

# What differs from run to run, by the name that it has in the documentation.
names=(-e "s/$grpc/127.0.0.1:7700/g")
hide() {
    names+=(-e "s/$1/$2/g")
}
named() {
    sed -E "${names[@]}" \
        -e 's/[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z/TIME/g' \
        -e 's/the latest is [0-9]+/the latest is REVISION/; s/"latest":"[0-9]+"/"latest":"REVISION"/' \
        -e 's/"retryDelay":"[0-9.]+s"/"retryDelay":"SECONDS"/' \
        -e 's/\(inode [0-9]+\)/(inode NUMBER)/g; s/%28inode [0-9]+%29/(inode NUMBER)/g'
}

# Metadata that goes with the calls, if any.
header=
call() {
    grpcurl -plaintext -format-error -max-time 20 ${header:+-H "$header"} "$@"
}

# show REASON WHAT DATA METHOD ANSWER: one section; the answer must give the reason.
show() {
    local reason=$1 what=$2 data=$3 method=$4 answer=$5 metadata=
    [ -z "$header" ] || metadata="-H '$header' "
    grep -q "\"reason\":\"$reason\"" <<<"$answer" || fail "$what: not $reason: $answer"
    {
        printf '\n## %s\n\n%s\n\n```console\n' "$reason" "$what"
        printf "$ grpcurl -plaintext -format-error %s-d '%s' %s fusion.v1.%s\n" \
            "$metadata" "$data" "$grpc" "$method"
        # The last object: a stream's answers come before its end.
        awk '/^{$/ { text = "" } { text = text $0 "\n" } END { printf "%s", text }' <<<"$answer"
        printf '```\n'
    } | named >>"$made"
    ok "$reason: $what"
}

# refused REASON WHAT DATA METHOD: the call is refused for this reason.
refused() {
    local answer
    if answer=$(call -d "$3" "$grpc" "fusion.v1.$4" 2>&1); then fail "$2: answered OK: $answer"; fi
    show "$@" "$answer"
}

# asks VIEW AGENT SPOOL [ROOT]: a request for a session.
asks() {
    local identity=${4:-}
    printf '{"view":"%s","agent_id":"%s","instance_id":"%s","spool_id":"%s","client":{"hostname":"host-%s"},"root":{"uri":"file://host/tree","identity":{%s}},"capabilities":["CAPABILITY_REALTIME","CAPABILITY_SCAN"]}' \
        "$1" "$2" 00000000-0000-4000-8000-00000000000f "$3" "$2" "$identity"
}

# join NAME VIEW AGENT SPOOL: begins a session; sets $session, and hides it behind NAME.
join() {
    local answer
    answer=$(call -d "$(asks "$2" "$3" "$4")" "$grpc" fusion.v1.SessionService/CreateSession) ||
        fail "no session: $answer"
    session=$(sed -n 's/^  "sessionId": "\(.*\)",$/\1/p' <<<"$answer")
    [ -n "$session" ] || fail "no id in: $answer"
    hide "$session" "$1"
}

# Kept for the stream that outlives the server: grpcurl asks for what it prints only then.
for symbol in fusion.v1.EventService google.rpc.ErrorInfo; do
    call -protoset-out "$work/$symbol" "$grpc" describe "$symbol" >/dev/null
done

# hold FILE DATA METHOD: a stream that stays open; its answer goes to the file. Sets $holder.
hold() {
    mkfifo "$1.in"
    call -protoset "$work/fusion.v1.EventService" -protoset "$work/google.rpc.ErrorInfo" -d @ "$grpc" "fusion.v1.$3" <"$1.in" >"$1" 2>&1 &
    holder=$!
    exec {held}>"$1.in"
    printf '%s\n' "$2" >&"$held"
    within 10 "an open stream" grep -q opened "$1"
}

# let_go: waits for the end of what is held. The server has ended it by now; grpcurl says so when it
# has read its own input to the end.
let_go() {
    exec {held}>&-
    if wait "$holder"; then fail "the stream that was held ended well"; fi
}

spool_a=00000000-0000-4000-8000-00000000000a spool_b=00000000-0000-4000-8000-00000000000b
# scan_started SESSION SEQUENCE EPOCH: a batch that only a leader may push.
scan_started() {
    printf '{"session_id":"%s","lane":"LANE_SCAN","batch":{"sequence":"%s","leader_epoch":"%s","rows":[{"observed_at":"2026-01-01T00:00:00Z","scan_started":{"scan_id":"1","source":"SCAN_SOURCE_SNAPSHOT","path":"Lw=="}}]}}' "$@"
}
# opening SESSION SPOOL NEXT
opening() {
    printf '{"opening":{"session_id":"%s","lane":"LANE_REALTIME","spool_id":"%s","first_held":"1","next":"%s"}}' "$1" "$2" "$3"
}

cat >"$made" <<'TEXT'
# Every refusal, as grpcurl prints it

Made by `tests/strangers/refusals.sh`, which the continuous integration runs: what is refused
otherwise than here fails it. [errors.md](errors.md) says what each means and what to do. What differs
from run to run has a name in capitals. Not here, because nobody outside can provoke them:
DEADLINE_EXCEEDED (grpcurl gives up by itself at the same moment), STORE_UNAVAILABLE (a disk that fails),
REVISION_COMPACTED (a log of an hour or of gigabytes), WATCHER_TOO_SLOW (grpcurl reads all it gets),
QUEUE_FULL (thousands of refreshes, or of rows of the trash, at once) and
INTERNAL (a bug); and what this version never says (see errors.md).
TEXT

heartbeat='{"session_id":"SESSION"}'
refused SESSION_OBSOLETE "Cause UNKNOWN: the server does not know the session." \
    "${heartbeat/SESSION/$nobody}" SessionService/Heartbeat
join SESSION-1 brief agent-1 "$spool_a"
sleep 1.2
refused SESSION_OBSOLETE "Cause EXPIRED: it was silent for longer than its timeout." \
    "${heartbeat/SESSION/$session}" SessionService/Heartbeat
join SESSION-2 new agent-2 "$spool_a"
before=$session
join SESSION-3 new agent-2 "$spool_a"
refused SESSION_OBSOLETE "Cause SUPERSEDED: its agent began another with the same spool." \
    "${heartbeat/SESSION/$before}" SessionService/Heartbeat
call -d "${heartbeat/SESSION/$session}" "$grpc" fusion.v1.AdminService/EvictSession >/dev/null
refused SESSION_OBSOLETE "Cause EVICTED: an administrator ended it." \
    "${heartbeat/SESSION/$session}" SessionService/Heartbeat

join SESSION-4 new agent-a "$spool_a"
leader=$session
join SESSION-5 new agent-b "$spool_b"
follower=$session
refused AGENT_ID_CONFLICT "Another spool, and the session of this agent is alive." \
    "$(asks new agent-a "$spool_b")" SessionService/CreateSession
refused ROOT_MISMATCH "No top-level entry of the root is one of the view's." \
    "$(asks demo agent-c "$spool_a" '"inode":"2","top":[{"name":"b3RoZXI=","inode":"7"}]')" \
    SessionService/CreateSession
join SESSION-6 alone agent-a "$spool_a"
refused VIEW_OCCUPIED "The view is exclusive, and another agent has it." \
    "$(asks alone agent-b "$spool_b")" SessionService/CreateSession
refused QUOTA_EXCEEDED "One view more than the server may have (or one session more)." \
    "$(asks fifth agent-a "$spool_a")" SessionService/CreateSession

push="{\"session_id\":\"$leader\",\"lane\":\"LANE_REALTIME\",\"spool_id\":\"$spool_a\",\"batch\":{\"sequence\":\"SEQUENCE\",\"rows\":[{\"observed_at\":\"2026-01-01T00:00:00Z\",\"root\":{\"state\":\"ROOT_STATE_AVAILABLE\"}}]}}"
call -d "${push/SEQUENCE/1}" "$grpc" fusion.v1.EventService/PushEventBatch >/dev/null
refused SEQUENCE_GAP "Batch 1 is part of the view, and this is batch 3." \
    "${push/SEQUENCE/3}" EventService/PushEventBatch
refused SPOOL_ROLLED_BACK "Batch 1 is part of the view, and the spool would number its next one 1." \
    "$(opening "$leader" "$spool_a" 1)" EventService/PushEvents
refused NOT_LEADER "A follower begins a snapshot." \
    "$(scan_started "$follower" 1 0)" EventService/PushEventBatch
call -d "${heartbeat/SESSION/$leader}" "$grpc" fusion.v1.AdminService/EvictSession >/dev/null
refused LEADER_EPOCH_STALE "It leads since a moment ago, and looked under the leadership before." \
    "$(scan_started "$follower" 2 1)" EventService/PushEventBatch

asked="$(opening "$follower" "$spool_b" 1)"
hold "$work/replaced" "$asked" EventService/PushEvents
call -d "$asked" "$grpc" fusion.v1.EventService/PushEvents >/dev/null
let_go
show STREAM_REPLACED "Somebody opened the lane again." "$asked" EventService/PushEvents \
    "$(cat "$work/replaced")"

refused SESSION_NOT_FOUND "It is gone, or never was." \
    "${heartbeat/SESSION/$nobody}" SessionService/EndSession
refused VIEW_NOT_FOUND "There is no such view." '{"view":"nobody","path":"/"}' ViewService/GetStats
refused PATH_NOT_FOUND "Nothing is known at the path." \
    '{"view":"demo","path":"/nothing"}' ViewService/GetEntry
refused TRASH_NOT_FOUND "It was restored, purged or dropped, or never was." \
    '{"view":"demo","trash_id":"999999"}' ViewService/RestoreTrash
refused AGENT_NOT_FOUND "No live session of the view is of this agent." \
    '{"view":"demo","path":"/","agent_id":"nobody"}' ViewService/RefreshPath
took() {
    printf '{"session_id":"%s","lane":"LANE_REALTIME","spool_id":"%s","batch":{"sequence":"%s","rows":[{"observed_at":"2026-01-01T00:00:00Z","%s":{"path":"%s","parent":{"kind":"ENTRY_KIND_DIRECTORY","inode":"1","ctime_time_ns":"%s"}%s}}]}}' "$@"
}
tell() {
    call -d "$(took "$follower" "$spool_b" "$@")" "$grpc" fusion.v1.EventService/PushEventBatch >/dev/null ||
        fail "not taken: $*"
}
# It is there before the view has a root that others could be compared with.
join SESSION-7 new agent-d "$spool_b"
standby=$session
file=',"stat":{"kind":"ENTRY_KIND_FILE","inode":"7","ctime_time_ns":"1"},"atomic":true'
call -d "{\"session_id\":\"$follower\",\"lane\":\"LANE_REALTIME\",\"spool_id\":\"$spool_b\",\"batch\":{\"sequence\":\"1\",\"rows\":[{\"observed_at\":\"2026-01-01T00:00:00Z\",\"upsert\":{\"path\":\"Lw==\",\"stat\":{\"kind\":\"ENTRY_KIND_DIRECTORY\",\"inode\":\"1\",\"ctime_time_ns\":\"1\"},\"atomic\":true}}]}}" \
    "$grpc" fusion.v1.EventService/PushEventBatch >/dev/null || fail "the root is not taken"
tell 2 upsert L2Y= 1 "$file"
tell 3 remove L2Y= 2 ''
tell 4 upsert L2Y= 3 "$file"
trash=$(call -d '{"view":"new","path":"/"}' "$grpc" fusion.v1.ViewService/ListTrash |
    sed -n 's/.*"trashId": "\(.*\)",/\1/p')
hide "\"trash_id\":\"$trash\"" '"trash_id":"NUMBER"'
refused PATH_TAKEN "Something stands there again." \
    "{\"view\":\"new\",\"trash_id\":\"$trash\"}" ViewService/RestoreTrash
refused NOT_A_DIRECTORY "A listing of a file." '{"view":"demo","path":"/a.txt"}' ViewService/ListEntries
refused INVALID_ARGUMENT "A path that is no path." \
    '{"view":"demo","path":"/dir/.."}' ViewService/ListEntries
refused JOB_NOT_FOUND "There is no such job." "{\"job_id\":\"$nobody\"}" JobService/GetJob
job=$(call -d '{"steps":[{"step_id":"only","kind":"STEP_KIND_SCAN","view":"brief"}]}' \
    "$grpc" fusion.v1.JobService/CreateJob | sed -n 's/^    "jobId": "\(.*\)",$/\1/p')
[ -n "$job" ] || fail "no job"
hide "$job" JOB
refused VERSION_MISMATCH "The job has changed since it was looked at." \
    "{\"job_id\":\"$job\",\"expected_version\":\"7\"}" JobService/CancelJob
call -d "{\"job_id\":\"$job\"}" "$grpc" fusion.v1.JobService/CancelJob >/dev/null ||
    fail "cancel a job"
refused ILLEGAL_TRANSITION "The job is over." "{\"job_id\":\"$job\"}" JobService/CancelJob

header="idempotency-key: of-one-request"
delete_key() {
    printf '{"method":"fusion.v1.AdminService/EvictSession","key":"%s"}' "$1"
}
call -d "$(delete_key one)" "$grpc" fusion.v1.AdminService/DeleteIdempotencyKey >/dev/null ||
    fail "a call under a key"
refused IDEMPOTENCY_KEY_REUSED "The key was used before for another request." \
    "$(delete_key two)" AdminService/DeleteIdempotencyKey
header=
refused REVISION_UNKNOWN "A watch is to go on after a revision that the view never had." \
    '{"view":"demo","path":"/","after_revision":"1000000"}' ViewService/WatchView
refused VIEW_NOT_READY "A trusted read of a view that nobody has listed yet." \
    '{"view":"new","path":"/","read_class":"READ_CLASS_TRUSTED"}' ViewService/GetStats

refresh='{"view":"new","path":"/"}'
call -d "$refresh" "$grpc" fusion.v1.ViewService/RefreshPath >"$work/refresh" 2>&1 &
refreshing=$!
asked_to() {
    call -d "${heartbeat/SESSION/$follower}" "$grpc" fusion.v1.SessionService/Heartbeat |
        grep -q SCAN_SOURCE_ON_DEMAND
}
within 10 "a command for the agent" asked_to
call -d "${heartbeat/SESSION/$follower}" "$grpc" fusion.v1.AdminService/EvictSession >/dev/null
if wait "$refreshing"; then fail "a refresh by nobody is answered OK"; fi
show SCAN_FAILED "The agent that was to look went away." "$refresh" ViewService/RefreshPath \
    "$(cat "$work/refresh")"
asked="$(opening "$standby" "$spool_b" 1)"
hold "$work/draining" "$asked" EventService/PushEvents
stop "${pids[1]}" || fail "the server did not end well"
let_go
show SERVER_DRAINING "The server is told to end while a stream is open." "$asked" \
    EventService/PushEvents "$(cat "$work/draining")"

# Each reason of the table is shown here, or the text says why not.
while read -r reason; do
    grep -q "$reason" "$made" "$work/unused" || fail "docs/errors.md has $reason, and it is not shown"
done < <(sed -n '/^Not used/,$p' "$repo/docs/errors.md" >"$work/unused"
    sed -n 's/^| \([A-Z_, ]*\) |.*/\1/p' "$repo/docs/errors.md" | tr -d ' ' | tr , '\n')
ok "every reason of docs/errors.md"

if [ "${FUSION_WRITE_DOCS:-}" = 1 ]; then
    cp "$made" "$shown"
else
    diff -u "$shown" "$made" ||
        fail "docs/refusals.md is not what the server says: FUSION_WRITE_DOCS=1 $0 BIN_DIR writes it"
    ok "docs/refusals.md is what the server says"
fi
stop_all

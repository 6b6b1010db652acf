#!/usr/bin/env bash
# A real OpenTelemetry collector (rotel) gets spans of both sides: one trace has both, and what the server applied is a
# child of the agent's push that brought it.
. "$(dirname "$0")/lib.sh"
need rotel-agent strangers-python

listens() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# It prints every span that it takes: its trace, its name and the resource that it came from.
port=$(free_port)
NO_COLOR=1 rotel-agent start --exporter blackhole --debug-log traces --debug-log-verbosity detailed \
    --otlp-grpc-endpoint "127.0.0.1:$port" --otlp-http-endpoint "127.0.0.1:$(free_port)" \
    >"$work/collector.log" 2>&1 </dev/null &
pids=($!)
within 10 "the collector" listens "$port"

# Prints the spans of the first trace that has spans of both services.
shared_trace() {
    awk '
        / service\.name: / { service = $NF }
        /^ *Trace ID / { trace = $NF }
        /^ *Name  *: / {
            sub(/^ *Name *: /, "")
            spans[trace] = spans[trace] "  " service " " $0 "\n"
            seen[trace, service] = 1
        }
        END {
            for (trace in spans)
                if (seen[trace, "Str(fusion-server)"] && seen[trace, "Str(agent-client)"]) {
                    printf "trace %s:\n%s", trace, spans[trace]
                    exit 0
                }
            exit 1
        }' "$work/collector.log"
}

# Prints each span of an apply by the server whose parent is a push by the agent, in the same trace.
applied_pushes() {
    awk '
        / service\.name: / { service = $NF }
        /^ *Trace ID / { trace = $NF }
        /^ *Parent ID / { parent = /: *$/ ? "" : $NF }
        /^ *ID / { id = $NF }
        /^ *Name  *: push$/ && service == "Str(agent-client)" { push[trace, id] = 1 }
        /^ *Name  *: fusion\.apply$/ && service == "Str(fusion-server)" { apply[trace, parent] = id }
        END {
            for (key in apply)
                if (key in push) {
                    split(key, of, SUBSEP)
                    printf "trace %s: push %s, apply %s\n", of[1], of[2], apply[key]
                    found = 1
                }
            exit !found
        }' "$work/collector.log"
}

start_pair OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:$port" OTEL_BSP_SCHEDULE_DELAY=300
echo more >"$work/tree/dir/more.txt" # a push by event, beside those of the first scan
within 20 "a trace with spans of agent and server" shared_trace
ok "one trace has spans of agent and server"
head -n 20 "$work/last"
within 20 "an apply of the server whose parent is a push of the agent" applied_pushes
ok "what the server applied is a child of the push: $(wc -l <"$work/last") of them"
head -n 3 "$work/last"

collector=${pids[-1]}
unset 'pids[-1]'
stop_all
pids=("$collector")

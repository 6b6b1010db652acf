#!/usr/bin/env bash
# A real OpenTelemetry collector (rotel) gets spans of both sides, and one trace has both.
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

start_pair OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:$port" OTEL_BSP_SCHEDULE_DELAY=300
echo more >"$work/tree/dir/more.txt" # a push by event, beside those of the first scan
within 20 "a trace with spans of agent and server" shared_trace
ok "one trace has spans of agent and server"
head -n 20 "$work/last"

collector=${pids[-1]}
unset 'pids[-1]'
stop_all
pids=("$collector")

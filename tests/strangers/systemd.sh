#!/usr/bin/env bash
# systemd takes the units and rates their sandboxes; what server and agent keep goes to $STATE_DIRECTORY as
# the units rely on, and no system call that they make is one that the units forbid.
. "$(dirname "$0")/lib.sh"
need systemd-analyze systemd-socket-activate strace openssl strangers-python
units=$repo/deploy/systemd

# Where the programs are here.
mkdir -p "$work/units/fusion-agent@.service.d"
for unit in fusion-server fusion-agent@; do
    sed "s#/usr/bin/#$bin_dir/#" "$units/$unit.service" >"$work/units/$unit.service"
done

# judge UNIT MOST: verified without a word, and exposed to at most this, of 100.
judge() {
    local said
    said=$(systemd-analyze verify --recursive-errors=no "$1" 2>&1) || fail "systemd-analyze verify: $said"
    same "systemd-analyze verify says nothing against $(basename "$1")" "" "$said"
    said=$(systemd-analyze security --offline=true --threshold="$2" --no-pager "$1" 2>&1) || fail "$said"
    ok "systemd-analyze security: $(tail -n 1 <<<"$said" | sed 's/[^ -~]//g')"
}
judge "$work/units/fusion-server.service" 15
cat "$units/fusion-server.service.d/tls.conf.example" >>"$work/units/fusion-server.service"
judge "$work/units/fusion-server.service" 15
judge "$work/units/fusion-agent@.service" 25
cp "$units/fusion-agent@.service.d/fanotify.conf.example" "$work/units/fusion-agent@.service.d/fanotify.conf"
cat "$work/units/fusion-agent@.service.d/fanotify.conf" >>"$work/units/fusion-agent@.service"
judge "$work/units/fusion-agent@.service" 25
rm "$work/units/fusion-agent@.service.d/fanotify.conf"
sed "s#/usr/bin/#$bin_dir/#" "$units/fusion-agent@.service" "$units/fusion-agent@.service.d/trees.conf.example" \
    >"$work/units/fusion-agent@.service"
judge "$work/units/fusion-agent@.service" 25
env HOME="$work" "$bin_dir/agent-client" --config "$units/agent-trees.toml.example" --print-config >"$work/config" ||
    fail "the agent refuses agent-trees.toml.example"
contains "the agent's trees" "$(cat "$work/config")" '[[tree]]' 'view = "archive"' 'root = "/srv/shared"'

# The socket fits its service, and is served as systemd hands it over: by its name, over the configured address.
cp "$units/fusion-server.socket" "$work/units/"
said=$(systemd-analyze verify --recursive-errors=no "$work/units/fusion-server.socket" "$work/units/fusion-server.service" 2>&1) ||
    fail "systemd-analyze verify: $said"
same "systemd-analyze verify says nothing against fusion-server.socket" "" "$said"
held=127.0.0.1:$(free_port)
name=$(sed -n 's/^FileDescriptorName=//p' "$units/fusion-server.socket")
systemd-socket-activate --listen "$held" --fdname "$name" \
    "$bin_dir/fusion-server" --listen 127.0.0.1:1 --http-listen 127.0.0.1:0 --data-dir "$work/activated" >"$work/activated.log" 2>&1 &
pids=($!)
within 20 "an answer on the socket of systemd" "$bin_dir/fusionctl" --server "http://$held" views
ok "systemd-socket-activate hands over the socket \`$name\`, and it is served"
stop_all

# variables FILE FROM TO: the variables that a file of ours sets, one in a line, with another place in them.
variables() {
    sed -n 's/^#\{0,1\}\(Environment=\)\{0,1\}\(FUSION_[A-Z_]*=.*\)/\2/p' "$1" | sed "s#$2#$3#"
}
# They are those that server and agent know: what they do not know they refuse.
mkdir "$work/tls"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -days 2 \
    -keyout "$work/tls/server-key.pem" -out "$work/tls/server.pem" >"$work/openssl.log" 2>&1
cp "$work/tls/server.pem" "$work/tls/clients.pem"
mapfile -t tls < <(variables "$units/fusion-server.service.d/tls.conf.example" %d "$work/tls")
same "variables of TLS" 3 "${#tls[@]}"
env "${tls[@]}" "$bin_dir/fusion-server" --data-dir "$work/data" --print-config >"$work/config" || fail "the server refuses ${tls[*]}"
contains "the server's TLS" "$(cat "$work/config")" "$work/tls/server.pem" "$work/tls/clients.pem"

cp "$repo/fusion-server/fusion-server.example.toml" "$work/server.toml"
# Some machines let nothing be traced.
if ! strace -o "$work/last" true 2>"$work/refused"; then
    echo "NOT RUN: $(basename "$0"): which system calls are made: $(tail -n 1 "$work/refused")"
    exit 77
fi
# traced NAME COMMAND...: strace is the child of the command, which gets the signals.
traced() {
    local name=$1
    shift
    mkdir -p "$work/state/$name"
    env STATE_DIRECTORY="$work/state/$name" strace -D -f -o "$work/$name.trace" "$@" >"$work/$name.log" 2>&1 </dev/null &
    pids=($! "${pids[@]}")
}
traced server "$bin_dir/fusion-server" --config "$work/server.toml" --listen 127.0.0.1:0 --http-listen 127.0.0.1:0 \
    --address-file "$work/server.address"
within 30 "the server's addresses" has_address "$work/server.address" grpc http
grpc=$(address "$work/server.address" grpc) http=$(address "$work/server.address" http)
mkdir -p "$work/tree/dir/sub"
printf %010d 1 >"$work/tree/a.txt"
printf %020d 2 >"$work/tree/dir/b.txt"
printf %030d 3 >"$work/tree/dir/sub/c.dat"
ln -s a.txt "$work/tree/link"
# The environment file of the example, with places of ours.
mapfile -t given < <(variables "$units/agent.env.example" /srv/shared "$work/tree" | grep -v 'CA=\|CLIENT_' |
    sed "s#127.0.0.1:7700#$grpc#; s#127.0.0.1:7702#127.0.0.1:0#")
same "variables of the agent" 3 "${#given[@]}"
while IFS='=' read -r name _; do
    grep -qE "^(#=? )?${name,,} = " "$repo/agent-client/agent-client.example.toml" || fail "the agent has no setting ${name,,}"
done < <(variables "$units/agent.env.example" FUSION_AGENT__ '')
traced agent env "${given[@]}" "$bin_dir/agent-client" --view demo
within 60 "the view to be whole" view_is_whole
"$bin_dir/fusionctl" --server "http://$grpc" audit --view demo >"$work/audit.log"
[ -f "$work/state/server/fusion-store" ] || fail "the server keeps nothing in its \$STATE_DIRECTORY"
ok "the server keeps its data in \$STATE_DIRECTORY"
compgen -G "$work/state/agent/*" >"$work/last" || fail "the agent keeps nothing in its \$STATE_DIRECTORY"
ok "the agent keeps its spool in \$STATE_DIRECTORY: $(xargs -n 1 basename <"$work/last" | paste -sd ' ')"
stop_all

# trace_ended NAME: all that it did is written.
trace_ended() {
    tail -n 1 "$work/$1.trace" | grep -qF '+++ exited with 0 +++'
}
for name in server agent; do
    unit=$(ls "$units"/fusion-"$name"*.service)
    within 10 "the end of the trace of the $name" trace_ended "$name"
    strangers-python "$repo/tests/strangers/syscalls.py" "$unit" "$work/$name.trace" || fail "the sandbox of $unit is too tight"
done

while IFS=' =' read -r key value; do
    [ -e "/proc/sys/${key//.//}" ] || fail "no such setting of the kernel: $key"
    [[ $value =~ ^[0-9]+$ ]] || fail "$key is '$value'"
done < <(grep -v '^#' "$units/60-fusion-inotify.conf")
ok "the settings of the kernel"

#!/usr/bin/env bash
# The image is built from deploy/Dockerfile by buildah, from the programs in BIN_DIR and on a base that debootstrap
# makes, and run by runc: read-only, as its own user, without a capability. No registry of images is asked.
# FUSION_IMAGE=oci-archive:FILE is run in place of one that is built here.
. "$(dirname "$0")/lib.sh"
need buildah debootstrap runc grpcurl
need_python json
[ "$(id -u)" = 0 ] || missing "root, to make a base and to run a container,"
# Containers of its own: nothing of the machine's is touched, and all goes with $work.
images() {
    buildah --root "$work/images" --runroot "$work/images.run" --storage-driver vfs "$@"
}

if [ -n "${FUSION_IMAGE:-}" ]; then
    # One that was built elsewhere, from the sources, in a form that buildah pulls: oci-archive:FILE.
    images tag "$(images pull -q "$FUSION_IMAGE")" localhost/fusion
    ok "the image of $FUSION_IMAGE"
else
    # shellcheck source=/dev/null
    codename=$(. /etc/os-release && echo "$VERSION_CODENAME")

    # A base like this machine: the programs were built for its libraries. Kept, for it takes a minute.
    base=$cache/base-$codename
    if [ ! -f "$base.made" ]; then
        rm -rf "$base"
        debootstrap --variant=minbase "$codename" "$base" >"$work/debootstrap.log" 2>&1 || fail "debootstrap: $(tail -n 1 "$work/debootstrap.log")"
        touch "$base.made"
    fi
    ok "a base of Debian $codename by debootstrap"

    container=$(images from scratch)
    images add -q "$container" "$base" / >/dev/null
    images commit -q --rm "$container" localhost/base >/dev/null 2>"$work/base.log" || fail "$(cat "$work/base.log")"
    mkdir -p "$work/context/programs"
    cp "$bin_dir"/{fusion-server,agent-client,fusionctl} "$work/context/programs/"
    images build -q --isolation chroot --pull=never --build-arg PROGRAMS=ready --build-arg BUILDER=localhost/base \
        -f "$repo/deploy/Dockerfile" -t localhost/fusion "$work/context" >"$work/build.log" 2>&1 || fail "$(tail -n 5 "$work/build.log")"
    ok "deploy/Dockerfile built by buildah $(buildah --version | grep -oE '[0-9.]+' | head -n1), with programs that were ready"
fi

container=$(images from --pull=never localhost/fusion)
rootfs=$(images mount "$container")
images inspect --type image localhost/fusion >"$work/image.json"
image_says() {
    strangers-python -c 'import json, sys; print(json.dumps(json.load(open(sys.argv[1]))["OCIv1"]["config"].get(sys.argv[2])))' \
        "$work/image.json" "$1"
}
same "the image's user" '"65532:65532"' "$(image_says User)"
same "the image's command" '["fusion-server"]' "$(image_says Cmd)"

# What is in it: three programs, what they load, three files of /etc.
(cd "$rootfs" && find . -type f -o -type l | sort) >"$work/files"
if grep -vE '^\./(usr/bin/(fusion-server|agent-client|fusionctl)|lib(64)?/.*\.so[.0-9]*|etc/(passwd|group|nsswitch\.conf))$' "$work/files"; then
    fail "the image has more than the programs and what they load"
fi
same "programs in it" "agent-client fusion-server fusionctl" "$(cd "$rootfs/usr/bin" && echo *)"
if find "$rootfs" \( -name 'sh' -o -name '*sh' -o -name 'apt*' -o -name 'dpkg*' -o -name busybox \) -type f | grep .; then
    fail "the image has a shell or a package manager"
fi
if find "$rootfs" -perm /6000 | grep .; then fail "the image has a file that changes its user"; fi
ok "the image: $(wc -l <"$work/files") files, $(du -sm --apparent-size "$rootfs" | cut -f1) MB; no shell, no package manager, no setuid"

# bundle NAME ARGUMENTS...: what runc is to run: the image read-only, as its user, without capabilities, with the
# machine's network; only /var/lib/fusion and /run/fusion can be written. /config and /tree are given to it.
mkdir -p "$work/config" "$work/tree" "$work/run.server" "$work/run.agent" "$work/data" "$work/spool"
bundle() {
    local name=$1 state=$2 run=$3
    shift 3
    mkdir -p "$work/$name"
    chown 65532:65532 "$state" "$run"
    strangers-python - "$rootfs" "$state" "$run" "$work" "$@" >"$work/$name/config.json" <<'END'
import json, sys
rootfs, state, run, work, *arguments = sys.argv[1:]
bind = lambda source, target, *more: {
    "destination": target, "type": "bind", "source": source, "options": ["bind", "nosuid", "nodev", *more]}
none = {kind: [] for kind in ("bounding", "effective", "inheritable", "permitted", "ambient")}
print(json.dumps({
    "ociVersion": "1.0.2",
    "root": {"path": rootfs, "readonly": True},
    "process": {
        "user": {"uid": 65532, "gid": 65532}, "cwd": "/var/lib/fusion", "args": arguments,
        "env": ["PATH=/usr/bin"], "capabilities": none, "noNewPrivileges": True},
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        bind(state, "/var/lib/fusion", "rw"), bind(run, "/run/fusion", "rw"),
        bind(work + "/config", "/config", "ro"), bind(work + "/tree", "/tree", "ro")],
    "linux": {"namespaces": [{"type": kind} for kind in ("mount", "pid", "ipc", "uts")]},
}))
END
}

# run_in_image NAME: runs a bundle until it ends.
run_in_image() {
    runc --root "$work/runc" run --pid-file "$work/$1.pid" --bundle "$work/$1" "fusion-$1-$$"
}

# begin_in_image NAME: the same beside us. In `pids` is the process inside, which is told to end.
declare -A runs
begin_in_image() {
    rm -f "$work/$1.pid"
    run_in_image "$1" >"$work/$1.log" 2>&1 </dev/null &
    runs[$1]=$!
    within 20 "the $1 in the image to begin" test -s "$work/$1.pid"
    pids=("$(cat "$work/$1.pid")" "${pids[@]}")
}

chmod 711 "$work"
cat >"$work/config/server.toml" <<END
data_dir = "/var/lib/fusion"
address_file = "/run/fusion/server.address"

[listen]
grpc = "127.0.0.1:0"
http = "127.0.0.1:0"
END
for program in fusion-server agent-client fusionctl; do
    bundle version "$work/data" "$work/run.server" "$program" --version
    run_in_image version >"$work/version.log" 2>&1 || fail "$program --version: $(cat "$work/version.log")"
    ok "in the image: $(cat "$work/version.log")"
done
bundle check "$work/data" "$work/run.server" fusion-server --config /config/server.toml --check-config
run_in_image check >"$work/check.log" 2>&1 || fail "--check-config: $(cat "$work/check.log")"
ok "in the image: --check-config"
bundle shell "$work/data" "$work/run.server" /bin/sh -c true
if run_in_image shell >"$work/shell.log" 2>&1; then fail "there is a shell"; fi
# What it may not write it cannot use: the root is read-only.
bundle readonly "$work/data" "$work/run.server" fusion-server --config /config/server.toml --data-dir /elsewhere
if run_in_image readonly >"$work/readonly.log" 2>&1; then fail "the server made a directory in the image"; fi
grep -q 'it is read-only' "$work/readonly.log" || fail "not because it is read-only: $(cat "$work/readonly.log")"
ok "in the image: its root cannot be written"

bundle server "$work/data" "$work/run.server" fusion-server --config /config/server.toml
begin_in_image server
within 20 "the server's addresses" has_address "$work/run.server/server.address" grpc http
grpc=$(address "$work/run.server/server.address" grpc) http=$(address "$work/run.server/server.address" http)
within 20 "the server to be ready" curl -sf "http://$http/readyz"
contains "grpc.health.v1 of the server in the image" \
    "$(grpcurl -plaintext "$grpc" grpc.health.v1.Health/Check)" '"status": "SERVING"'

mkdir -p "$work/tree/dir/sub"
printf %010d 1 >"$work/tree/a.txt"
printf %020d 2 >"$work/tree/dir/b.txt"
printf %030d 3 >"$work/tree/dir/sub/c.dat"
ln -s a.txt "$work/tree/link"
bundle agent "$work/spool" "$work/run.agent" agent-client --server "http://$grpc" --view demo --root /tree \
    --agent-id stranger --spool /var/lib/fusion/spool --http-listen 127.0.0.1:0 --address-file /run/fusion/agent.address
begin_in_image agent
within 30 "the view of the agent in the image" view_is_whole

for pid in "${pids[@]}"; do
    name=$(cat "/proc/$pid/comm")
    same "$name runs as 65532" "65532 65532 65532 65532" "$(awk '/^Uid:/ {print $2, $3, $4, $5}' "/proc/$pid/status")"
    same "$name has no capability" "0000000000000000" "$(awk '/^CapEff:/ {print $2}' "/proc/$pid/status")"
    same "$name gets none" "1" "$(awk '/^NoNewPrivs:/ {print $2}' "/proc/$pid/status")"
done
# SIGTERM goes to the process, as the kubelet sends it; runc ends with its status.
for name in agent server; do
    begun=$(date +%s%N)
    kill -TERM "$(cat "$work/$name.pid")"
    status=0
    wait "${runs[$name]}" || status=$?
    same "the $name in the image ends at SIGTERM, after $((($(date +%s%N) - begun) / 1000000)) ms" 0 "$status"
done
pids=()
images umount "$container" >/dev/null

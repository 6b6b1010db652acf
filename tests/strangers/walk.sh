#!/usr/bin/env bash
# Walks docs/deploy.md and docs/cluster.md: every block that is marked `sh`, in order, in one shell, in an empty folder.
# Only the ports are others than those that are written there.
. "$(dirname "$0")/lib.sh"
need curl openssl prometheus rotel-agent nats-server

# walk PAGE: walks it.
walk() {
    local name=$1 status=0 port
    local blocks=$work/$name.blocks
    awk '/^```sh$/ { inside = 1; next } /^```$/ { inside = 0 } inside' "$repo/docs/$name.md" >"$blocks"
    [ "$(wc -l <"$blocks")" -gt 50 ] || fail "docs/$name.md has lost its blocks"
    grep -oE '(127\.0\.0\.1|localhost):[0-9]+' "$blocks" | sed 's/.*://' | sort -u >"$work/ports"
    while read -r port; do
        sed -i -E "s/(127\.0\.0\.1|localhost):$port\b/\1:$(free_port)/g" "$blocks"
    done <"$work/ports"
    mkdir "$work/$name"
    cat >"$work/$name.sh" <<END
set -euo pipefail
trap 'for job in \$(jobs -p); do kill "\$job" 2>/dev/null || true; done' EXIT
cd "$work/$name"
$(cat "$blocks")
END
    REPOSITORY=$repo PATH=$bin_dir:$PATH timeout 240 bash -x "$work/$name.sh" >"$work/walked" 2>&1 </dev/null || status=$?
    [ "$status" = 0 ] || fail "a step of docs/$name.md ended with $status: $(tail -n 20 "$work/walked")"
    ok "docs/$name.md: walked, $(wc -l <"$blocks") lines"
}

walk deploy
walk cluster

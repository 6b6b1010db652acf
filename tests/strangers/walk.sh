#!/usr/bin/env bash
# Walks docs/deploy.md: every block that is marked `sh`, in order, in one shell, in an empty folder. Only the ports
# are others than those that are written there.
. "$(dirname "$0")/lib.sh"
need curl openssl prometheus rotel-agent

awk '/^```sh$/ { inside = 1; next } /^```$/ { inside = 0 } inside' "$repo/docs/deploy.md" >"$work/blocks"
[ "$(wc -l <"$work/blocks")" -gt 50 ] || fail "docs/deploy.md has lost its blocks"
grep -oE '(127\.0\.0\.1|localhost):[0-9]+' "$work/blocks" | sed 's/.*://' | sort -u >"$work/ports"
while read -r port; do
    sed -i -E "s/(127\.0\.0\.1|localhost):$port\b/\1:$(free_port)/g" "$work/blocks"
done <"$work/ports"
mkdir "$work/walk"
cat >"$work/walk.sh" <<END
set -euo pipefail
trap 'for job in \$(jobs -p); do kill "\$job" 2>/dev/null || true; done' EXIT
cd "$work/walk"
$(cat "$work/blocks")
END
status=0
REPOSITORY=$repo PATH=$bin_dir:$PATH timeout 240 bash -x "$work/walk.sh" >"$work/walked" 2>&1 </dev/null || status=$?
[ "$status" = 0 ] || fail "a step of docs/deploy.md ended with $status: $(tail -n 20 "$work/walked")"
ok "docs/deploy.md: walked, $(wc -l <"$work/blocks") lines"

#!/usr/bin/env bash
# cargo-deny finds no licence, crate or source among our dependencies that deny.toml does not allow.
. "$(dirname "$0")/lib.sh"
need cargo-deny
cd "$repo"
# cargo-deny itself stays offline. What only other systems build was not needed so far.
cargo fetch --locked --quiet || fail "cargo fetch"
cargo-deny --offline --locked check --hide-inclusion-graph licenses bans sources >"$work/denied" 2>&1 || fail "$(cat "$work/denied")"
if grep -E '^(warning|error)' "$work/denied"; then fail "$(cat "$work/denied")"; fi
ok "cargo-deny: $(tail -n 1 "$work/denied" | sed 's/\x1b\[[0-9;]*m//g')"

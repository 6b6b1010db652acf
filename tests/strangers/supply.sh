#!/usr/bin/env bash
# cargo-deny finds no licence, crate or source among our dependencies that deny.toml does not allow; and the
# programs tell which crates are in them, and the commit that they were built from.
. "$(dirname "$0")/lib.sh"
need cargo-deny
cd "$repo"
# cargo-deny itself stays offline. What only other systems build was not needed so far.
cargo fetch --locked --quiet || fail "cargo fetch"
cargo-deny --offline --locked check --hide-inclusion-graph licenses bans sources >"$work/denied" 2>&1 || fail "$(cat "$work/denied")"
if grep -E '^(warning|error)' "$work/denied"; then fail "$(cat "$work/denied")"; fi
ok "cargo-deny: $(tail -n 1 "$work/denied" | sed 's/\x1b\[[0-9;]*m//g')"

# Each program has the list of its crates inside, as cargo-auditable writes it and scanners read it: what Cargo.lock
# has, and all that is linked.
need objcopy
strangers-python - Cargo.lock >"$work/locked" <<'END'
import sys, tomllib
for package in tomllib.load(open(sys.argv[1], "rb"))["package"]:
    print(package["name"], package["version"])
END
for program in fusion-server agent-client fusionctl; do
    objcopy --dump-section ".dep-v0=$work/list" "$bin_dir/$program" /dev/null 2>/dev/null ||
        fail "$program has no list of its crates: build it by deploy/build-programs"
    strangers-python - "$work/list" "$program" >"$work/listed" <<'END' || fail "the list of $program"
import json, sys, zlib
listed = json.loads(zlib.decompress(open(sys.argv[1], "rb").read()))["packages"]
assert [package["name"] for package in listed if package.get("root")] == [sys.argv[2]], "another program's"
for package in listed:
    if package.get("kind", "runtime") == "runtime":
        print(package["name"], package["version"])
END
    unknown=$(grep -vxFf "$work/locked" "$work/listed" || true)
    [ -z "$unknown" ] || fail "$program has crates that Cargo.lock has not: $unknown"
    cargo tree --locked --offline --edges normal,no-proc-macro --prefix none --format '{p}' -p "$program" |
        sed -nE 's/^([^ ]+) v([^ ]+).*/\1 \2/p' | sort -u >"$work/linked"
    unlisted=$(grep -vxFf "$work/listed" "$work/linked" || true)
    [ -z "$unlisted" ] || fail "$program is linked with crates that its list has not: $unlisted"
    ok "$program: its $(wc -l <"$work/listed") crates are in it, as in Cargo.lock"
done

# The version says what it was built from.
commit=$(git rev-parse HEAD)
for program in fusion-server agent-client fusionctl; do
    contains "--version of $program" "$("$bin_dir/$program" --version)" "(commit $commit)"
done
declared=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
contains "the Rust that is asked for is the one of the Dockerfile" "$(cat deploy/Dockerfile)" "BUILDER=rust:$declared-"

#!/usr/bin/env bash
# promtool takes the recording rules and alerts and runs their tests. Each alert has a test in which it
# fires and one in which it does not, and a section of the runbook, which has no other ones.
. "$(dirname "$0")/lib.sh"
need promtool
rules=$repo/deploy/prometheus runbook=$repo/docs/runbook.md

promtool check rules "$rules"/{recording,alerts}.yaml >"$work/checked" 2>&1 || fail "$(cat "$work/checked")"
ok "promtool check rules: $(grep -c SUCCESS "$work/checked") files"
promtool test rules "$rules"/tests/*.yaml >"$work/tested" 2>&1 || fail "$(cat "$work/tested")"
ok "promtool test rules: $(grep -c SUCCESS "$work/tested") files"

sed -n 's/^ *- alert: //p' "$rules/alerts.yaml" | sort >"$work/alerts"
[ -s "$work/alerts" ] || fail "no alert was found"
cat "$rules"/tests/*.yaml >"$work/tests"
while read -r alert; do
    grep -qF "alertname: $alert, exp_alerts: []}" "$work/tests" || fail "no test in which $alert does not fire"
    grep -A 2 "^ *alertname: $alert\$" "$work/tests" | grep -q 'exp_labels:' || fail "no test in which $alert fires"
    grep -A 8 -- "- alert: $alert\$" "$rules/alerts.yaml" | grep -q "runbook: docs/runbook.md#${alert,,}\$" ||
        fail "$alert does not name its section of the runbook"
    section=$(awk -v name="### $alert" '/^##/ { inside = ($0 == name) } inside' "$runbook")
    for part in "Means" "Look" "Do"; do
        grep -q "^\*$part\*: ." <<<"$section" || fail "the runbook does not say of $alert: $part"
    done
done <"$work/alerts"
ok "$(wc -l <"$work/alerts") alerts, each tested both ways, each in the runbook"
same "the runbook has sections of alerts only" "$(cat "$work/alerts")" "$(sed -n 's/^### //p' "$runbook" | sort)"
while read -r link; do
    grep -qix "##* ${link#\#}" "$runbook" || fail "the runbook links to $link, which is not there"
done < <(grep -oE '\(#[a-z]+\)' "$runbook" | tr -d '()' | sort -u)
ok "links within the runbook"

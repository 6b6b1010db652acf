"""Asks a Prometheus every query of the dashboard and every expression of the rules that it has loaded.

Usage: dashboard.py URL DASHBOARD. Prints each query with the number of its series. Exit status 1 if one
does not parse, or gives no series although no fault is needed for one.
"""

import json
import re
import sys
import urllib.error
import urllib.parse
import urllib.request

# What comes into being with a fault, with TLS, with what is deprecated or with several servers, and what is recorded of it.
NEED_A_FAULT = {
    'fusion_sessions_ended_total{state="expired"}',
    "fusion_obsolete_answers_total",
    "fusion_watchers_too_slow_total",
    'fusion_rpc_requests_total{code=~"INTERNAL|UNKNOWN|DATA_LOSS"}',
    "fusion_deprecated_calls_total",
    "fusion_denied_calls_total",
    "fusion_quota_refusals_total",
    'fusion_connections_total{outcome=~"refused|failed"}',
    "fusion_tls_certificate_expiry_timestamp_seconds",
    'fusion_reloads_total{outcome="refused"}',
    "fusion_view_owned",
    "fusion_view_owner_epoch",
    "fusion_view_lag_seconds",
    "fusion_lease_lapses_total",
    'fusion_servers{state="live"}',
    "fusion_agent_session_recoveries_total",
    "fusion_agent_part_restarts_total",
    'fusion_agent_scans_total{outcome="no_storage"}',
    "fusion_agent_spool_recoveries_total",
    "fusion:sessions_expired:increase15m",
    "fusion:obsolete_answers:increase15m",
    "fusion:watchers_too_slow:increase15m",
    "fusion:server_faults:increase15m",
    "fusion:denied_calls:increase15m",
    "fusion:quota_refusals:increase15m",
    "fusion:connections_not_taken:increase15m",
    "fusion:reloads_refused:increase1h",
    "fusion:agent_recoveries:increase15m",
    "fusion:agent_part_restarts:increase15m",
    "fusion:agent_storage_gone:increase15m",
    "fusion:agent_spool_recoveries:increase1h",
}
SELECTOR = re.compile(r"\b(?:fusion[a-z0-9_:]*|up|ALERTS)\b(?:\{[^}]*\})?")


def ask(url, path, **parameters):
    """The data of an answer of the HTTP API; a query that does not parse is an error."""
    query = urllib.parse.urlencode(parameters)
    try:
        with urllib.request.urlopen(f"{url}/api/v1/{path}?{query}", timeout=10) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        raise SystemExit(f"FAIL: {parameters}: {json.load(error)['error']}") from error


def series(url, query):
    """How many series a query gives now."""
    result = ask(url, "query", query=query)
    return 1 if result["resultType"] == "scalar" else len(result["result"])


def queries_of(path):
    """Each query of a dashboard with its variables filled in; ids and places must be sound."""
    with open(path, encoding="utf-8") as file:
        panels = json.load(file)["panels"]
    ids = [panel["id"] for panel in panels]
    if len(ids) != len(set(ids)):
        raise SystemExit("FAIL: two panels of the dashboard have one id")
    taken = set()
    for panel in panels:
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                if (x, y) in taken or x >= 24:
                    raise SystemExit(f"FAIL: {panel['title']} lies on another panel or off the grid")
                taken.add((x, y))
        for target in panel.get("targets", []):
            query = target["expr"].replace("$view", ".+").replace("$__rate_interval", "1m")
            if "$" in query:
                raise SystemExit(f"FAIL: a variable that nobody fills in: {query}")
            yield panel["title"], query


def needs_a_fault(query):
    """Whether everything that the query selects comes into being with a fault."""
    found = {selector.replace('{view=~".+"}', "") for selector in SELECTOR.findall(query)} - {"up"}
    # A bare name beside the same with labels is that of the `unless ... offset` in a rule.
    labelled = {selector.split("{")[0] for selector in found if "{" in selector}
    return bool(found - labelled) and found - labelled <= NEED_A_FAULT


def show(kind, name, query, count, note=""):
    """A line of the table."""
    print(f"{count:5}  {kind:9}  {name}: {' '.join(query.split())}{note}")


def main():
    url, dashboard = sys.argv[1:]
    empty = []

    def judge(kind, name, query):
        count = series(url, query)
        fault = count == 0 and needs_a_fault(query)
        show(kind, name, query, count, " (needs a fault)" if fault else "")
        if count == 0 and not fault:
            empty.append(query)

    for title, query in queries_of(dashboard):
        judge("dashboard", title, query)
    rules = [rule for group in ask(url, "rules")["groups"] for rule in group["rules"]]
    for rule in rules:
        if rule["health"] != "ok":
            raise SystemExit(f"FAIL: rule {rule['name']} is {rule['health']}: {rule.get('lastError')}")
        if rule["type"] == "recording":
            judge("record", rule["name"], rule["query"])
            continue
        # The expression of an alert has series only while it fires, so what it selects must be there.
        show("alert", rule["name"], rule["query"], series(url, rule["query"]))
        for selector in sorted(set(SELECTOR.findall(rule["query"]))):
            judge("selects", rule["name"], selector)
    if empty or not rules:
        raise SystemExit(f"FAIL: {len(rules)} rules; no series, and no fault is needed for one: {empty}")


main()

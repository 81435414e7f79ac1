"""Asks a running Prometheus whether it scrapes the service, takes the rules, and can answer every
question of the dashboard."""

import json
import pathlib
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

root, server = pathlib.Path(__file__).parents[3], sys.argv[1]
PATIENCE = 45


def ask(path, **parameters):
    url = f"{server}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        raise SystemExit(f"{parameters or path}: {error.read().decode()}") from None


def until(what, fact):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            found = fact()
        except OSError:
            found = None
        if found:
            return found
        time.sleep(0.2)
    raise SystemExit(f"in vain: {what}")


def value(query):
    result = ask("query", query=query)["result"]
    return float(result[0]["value"][1]) if result else None


until("the target is up", lambda: value('up{job="gotoassist-grpc"}') == 1)
until("a watch is seen", lambda: value('sum(gotoassist_watches{job="gotoassist-grpc"})') == 1)
until("GoToAssist is up", lambda: value("gotoassist_upstream_up") == 1)
assert value("gotoassist_token_failing") == 0


def rules():
    found = [rule for group in ask("rules")["groups"] for rule in group["rules"]]
    return found if all(rule["health"] == "ok" for rule in found) else None


found = until("every rule is evaluated without an error", rules)
firing = [rule["name"] for rule in found if rule.get("state") == "firing"]
assert not firing, f"alerts on a healthy service: {firing}"

dashboard = json.loads((root / "deploy/grafana/gotoassist-grpc.json").read_text())
questions = [t["expr"] for panel in dashboard["panels"] for t in panel.get("targets", [])]


def answered():
    count = 0
    for question in questions:
        for name, text in [("$job", "gotoassist-grpc"), ("$instance", ".*"), ("$__rate_interval", "15s")]:
            question = question.replace(name, text)
        count += bool(ask("query", query=question)["result"])
    return count


# What only trouble brings about has none; rates have one after the second scrape.
until("the dashboard is answered", lambda: answered() > len(questions) * 0.6)
print(f"{len(found)} rules evaluated, {answered()} of {len(questions)} questions of the dashboard answered")

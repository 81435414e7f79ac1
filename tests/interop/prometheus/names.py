"""Every metric that the rules, the chart and the dashboard name exists: in the scrape, or in the
source for those that only trouble brings about."""

import json
import pathlib
import re
import sys

root, scrape = pathlib.Path(__file__).parents[3], pathlib.Path(sys.argv[1]).read_text()
NAME = re.compile(r"\b(?:gotoassist|rpc|http_client|process)_[a-z_]+\b")
LABEL = re.compile(r"\b(?:rpc_method|rpc_response_status_code)\b")

dashboard = json.loads((root / "deploy/grafana/gotoassist-grpc.json").read_text())
expressions = [t["expr"] for p in dashboard["panels"] for t in p.get("targets", [])]
expressions += [v["definition"] for v in dashboard["templating"]["list"] if "definition" in v]
expressions += [a["expr"] for a in dashboard["annotations"]["list"]]
rules = (root / "deploy/prometheus/rules.yaml").read_text()
chart = (root / "deploy/helm/gotoassist-grpc/templates/prometheusrule.yaml").read_text()
texts = "\n".join([rules, chart, *expressions])
used = set(NAME.findall(LABEL.sub("", re.sub(r"gotoassist:[\w:]+", "", texts))))
used = {re.sub(r"_(bucket|count|sum)$", "", name) for name in used}

scraped = set(re.findall(r"^# TYPE (\S+)", scrape, re.M))
named = set()
for path in (root / "src").rglob("metric.rs"):
    named |= set(re.findall(r'"([a-z_]+)"', path.read_text()))

unknown = sorted(used - scraped - named)
assert not unknown, f"no such metric: {unknown}"
unseen = sorted(used - scraped)
print(f"{len(used)} metrics used, {len(used) - len(unseen)} in the scrape; only in trouble: {unseen}")
recorded = set(re.findall(r"record: (\S+)", rules))
asked = set(re.findall(r"gotoassist:[\w:]+", "\n".join(expressions)))
assert asked <= recorded, f"the dashboard asks for rules that are not there: {asked - recorded}"
runbooks = set(re.findall(r"runbook: docs/runbook.md#(\S+)", rules))
page = (root / "docs/runbook.md").read_text()
headings = {
    re.sub(r"[^a-z0-9 -]", "", line.lstrip("#").strip().lower()).replace(" ", "-")
    for line in page.splitlines()
    if line.startswith("#")
}
assert runbooks <= headings, f"the alerts lead nowhere: {sorted(runbooks - headings)}"

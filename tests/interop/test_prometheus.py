"""Real Prometheus against the service: the rules, their tests and the dashboard are well formed,
the metrics that they name exist, a scrape has the form that promtool wants, and Prometheus scrapes
the service and evaluates the rules. It needs Debian's `prometheus`."""

import json
import re
import urllib.error
import urllib.parse

import pytest
import yaml

from processes import Program, Service, free_port, http, until
from tools import BINARY, ROOT, binary, needs, run

RULES = ROOT / "deploy/prometheus/rules.yaml"
DASHBOARD = json.loads((ROOT / "deploy/grafana/gotoassist-grpc.json").read_text())
# The queries of the dashboard's panels.
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]
EXPRESSIONS = [
    *QUERIES,
    *(each["definition"] for each in DASHBOARD["templating"]["list"] if "definition" in each),
    *(each["expr"] for each in DASHBOARD["annotations"]["list"]),
]


@pytest.fixture(scope="module", autouse=True)
def tools():
    needs("promtool", "prometheus", package="prometheus")


@pytest.fixture(scope="module")
def service(simulator):
    """A service that has served calls, a failed call and watches. One watch is still open.

    It uses its own credential, because a demo does not have the metrics of that mode."""
    credential = [
        *("--credentials", "service", "--token-url", f"{simulator.url}/oauth/token"),
        *("--client-id", "id", "--client-secret", "secret", "--refresh-token", "token"),
    ]
    with Service(simulator, *credential) as service:
        server = ["--server", f"http://{service.address}"]
        binary("health", *server).expect(0)
        binary("get", "250040353", *server).expect(0)
        binary("links", "one.example.com", *server).expect(0)
        binary("get", "nobody", *server).expect(69)
        binary("watch", "250040304", *server).expect(0)
        with Program("watch", BINARY, "watch", "250040303", *server):
            until("an open watch is counted", lambda: service.metric("gotoassist_watches{") >= 1)
            yield service


@pytest.fixture(scope="module")
def scrape(service):
    return service.ask_admin("metrics")


def test_rules_are_well_formed():
    run("promtool", "check", "rules", RULES).expect(0)


def test_rules_fire_when_they_should_and_only_then():
    run("promtool", "test", "rules", ROOT / "deploy/prometheus/tests.yaml").expect(0)


# Alerts that one event fires, and the series in which the event shows. It is 0 before.
FIRST_EVENTS = {
    "GotoassistCertificateNotReloaded": r'gotoassist_certificate_reloads_total\{result="broken"\}',
    "GotoassistCredentialRefused": (
        r'gotoassist_call_errors_total\{rpc_method="[^"]*/GetSession",'
        r'reason="NO_REMOTE_SUPPORT_SEAT"\}'
    ),
    "GotoassistDefect": (
        r'gotoassist_call_errors_total\{rpc_method="[^"]*/WatchSessions",reason="SERVICE_FAILED"\}'
    ),
}


@pytest.mark.parametrize("alert", FIRST_EVENTS)
def test_first_event_in_a_series_as_the_service_exposes_it_fires_the_alert(alert, scrape, scratch):
    [(series, value)] = re.findall(rf"^({FIRST_EVENTS[alert]}) (\S+)$", scrape, re.MULTILINE)
    assert value == "0"
    exposed = series.replace("{", '{job="g",instance="a",', 1)
    when = {"alertname": alert, "exp_alerts": []}
    tests = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "15s",
        "tests": [
            {
                "interval": "15s",
                "input_series": [{"series": exposed, "values": "0x20 1x20"}],
                "alert_rule_test": [when | {"eval_time": "5m"}, when | {"eval_time": "6m"}],
            }
        ],
    }
    path = scratch / "tests.yaml"
    path.write_text(yaml.safe_dump(tests))
    # promtool says what fired where nothing was expected: only after the event.
    outcome = run("promtool", "test", "rules", path).expect(1, alert, "time: 6m")
    assert "time: 5m" not in outcome.output


def test_composes_prometheus_is_configured_well():
    config = ROOT / "deploy/compose/prometheus.yaml"
    run("promtool", "check", "config", "--syntax-only", config).expect(0)


def test_promtool_finds_no_fault_in_a_scrape(scrape):
    run("promtool", "check", "metrics", stdin=scrape).expect(0)


def test_every_metric_that_is_named_exists(scrape, note):
    """It is in the scrape, or in the source if only failures create it."""
    texts = "\n".join([RULES.read_text(), *EXPRESSIONS])
    # Recorded series and labels are not metrics of the service.
    texts = re.sub(r"gotoassist:[\w:]+|\b(rpc_method|rpc_response_status_code)\b", "", texts)
    used = set(re.findall(r"\b(?:gotoassist|rpc|http_client|process)_[a-z_]+\b", texts))
    used = {re.sub(r"_(bucket|count|sum)$", "", name) for name in used}

    scraped = set(re.findall(r"^# TYPE (\S+)", scrape, re.MULTILINE))
    sources = (path.read_text() for path in (ROOT / "src").rglob("*.rs"))
    named = {name for text in sources for name in re.findall(r': &str = "([a-z_]+)"', text)}
    note(f"{len(used)} metrics; not in the scrape of a healthy service: {sorted(used - scraped)}")
    assert not used - scraped - named


def test_dashboard_asks_for_recorded_rules_that_exist():
    recorded = set(re.findall(r"record: (\S+)", RULES.read_text()))
    assert set(re.findall(r"gotoassist:[\w:]+", "\n".join(EXPRESSIONS))) <= recorded


def test_alerts_lead_to_the_runbook():
    runbooks = set(re.findall(r"runbook_url: docs/runbook.md#(\S+)", RULES.read_text()))
    lines = (ROOT / "docs/runbook.md").read_text().splitlines()
    headings = {
        re.sub(r"[^a-z0-9 -]", "", line.lstrip("#").strip().lower()).replace(" ", "-")
        for line in lines
        if line.startswith("#")
    }
    assert runbooks <= headings


class Prometheus(Program):
    """A Prometheus that scrapes the service once a second."""

    def __init__(self, service, folder):
        self.url = f"http://127.0.0.1:{free_port()}"
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(RULES)],
            "scrape_configs": [
                {
                    "job_name": "gotoassist-grpc",
                    "static_configs": [{"targets": [service.admin]}],
                }
            ],
        }
        path = folder / "prometheus.yaml"
        path.write_text(yaml.safe_dump(config))
        super().__init__(
            *("prometheus", "prometheus", "--config.file", path),
            *("--storage.tsdb.path", folder / "data"),
            *("--web.listen-address", self.url.removeprefix("http://")),
        )

    def is_ready(self):
        return http("GET", f"{self.url}/-/ready")

    def ask(self, path, **parameters):
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            return json.loads(http("GET", url))["data"]
        except urllib.error.HTTPError as error:
            pytest.fail(f"{parameters or path}: {error.read().decode()}")

    def value(self, query):
        result = self.ask("query", query=query)["result"]
        return float(result[0]["value"][1]) if result else None


@pytest.fixture(scope="module")
def prometheus(service, scratch):
    with Prometheus(service, scratch) as prometheus:
        yield prometheus


def test_prometheus_scrapes_the_service(prometheus):
    job = '{job="gotoassist-grpc"}'
    until("the target is up", lambda: prometheus.value(f"up{job}") == 1, 45)
    watches = f"sum(gotoassist_watches{job})"
    until("the watch is counted", lambda: prometheus.value(watches) == 1, 45)
    until("GoToAssist is up", lambda: prometheus.value("gotoassist_upstream_up") == 1, 45)
    assert prometheus.value("gotoassist_token_failing") == 0


def test_prometheus_evaluates_the_rules_and_no_alert_fires(prometheus, note):
    def rules():
        groups = prometheus.ask("rules")["groups"]
        found = [rule for group in groups for rule in group["rules"]]
        return found if all(rule["health"] == "ok" for rule in found) else None

    found = until("every rule is evaluated without an error", rules, 45)
    note(f"{len(found)} rules evaluated")
    assert not [rule["name"] for rule in found if rule.get("state") == "firing"]


def test_prometheus_answers_the_dashboard(prometheus, note):
    variables = {"$job": "gotoassist-grpc", "$instance": ".*", "$__rate_interval": "15s"}

    def answered():
        count = 0
        for query in QUERIES:
            for name, text in variables.items():
                query = query.replace(name, text)
            count += bool(prometheus.ask("query", query=query)["result"])
        return count

    # Metrics that only failures create have no answer. A rate has one after the second scrape.
    until("most queries are answered", lambda: answered() > len(QUERIES) * 0.6, 45)
    note(f"{answered()} of {len(QUERIES)} queries of the dashboard answered")

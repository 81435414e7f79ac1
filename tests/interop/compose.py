"""Checks the project that docker compose makes of compose.yaml, and plays its two services of ours:
the same commands and settings, on free ports of this machine in the place of the containers'."""

import contextlib
import json
import os
import pathlib
import re
import subprocess
import sys

from checks import check, finish
from processes import BINARY, ENVIRONMENT, until

SERVICES = json.loads(pathlib.Path(sys.argv[1]).read_text())["services"]
SCRATCH = pathlib.Path(os.environ["INTEROP_SCRATCH"])


def mounts(name):
    return {each["target"]: pathlib.Path(each["source"]) for each in SERVICES[name]["volumes"]}


def seconds(text):
    """Of a duration as compose-go prints it."""
    units = {"h": 3600, "m": 60, "s": 1}
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)([hms])", text))


def check_files():
    missing = [str(path) for name in ("prometheus", "grafana") for path in mounts(name).values()
               if not path.is_file()]
    check("every file that it mounts is there", not missing, missing)

    config = mounts("prometheus")["/etc/prometheus/prometheus.yml"].read_text()
    named = set(re.findall(r"/etc/\S+\.yaml", config))
    check("Prometheus' rules are mounted where it looks", named and named <= mounts("prometheus").keys(),
          named)
    [target] = re.findall(r"targets: \[(\S+):9464\]", config)
    check("and it scrapes a service of the file", target in SERVICES, target)

    grafana = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    providers = mounts("grafana")["/etc/grafana/provisioning/dashboards/dashboards.yaml"].read_text()
    [folder] = re.findall(r"path: (\S+) }", providers)
    check("Grafana's home is the mounted dashboard, in the folder that it loads",
          grafana in mounts("grafana") and str(pathlib.Path(grafana).parent) == folder, grafana)
    [source] = re.findall(
        r"url: http://(\S+):9090",
        mounts("grafana")["/etc/grafana/provisioning/datasources/prometheus.yaml"].read_text())
    check("and its source is a service of the file", source in SERVICES, source)


@contextlib.contextmanager
def running(name, pattern, *changes):
    """A service of the file as a process; gives what the pattern finds in its output."""
    def changed(text):
        for old, new in changes:
            text = text.replace(old, new)
        return text

    service = SERVICES[name]
    # What the image sets, and then what the file does.
    settings = {"GOTOASSIST_LISTEN": "127.0.0.1:0", "GOTOASSIST_ADMIN_LISTEN": "127.0.0.1:0"}
    settings |= {k: changed(v) for k, v in (service.get("environment") or {}).items()}
    log = SCRATCH / f"{name}.log"
    with open(log, "wb") as output:
        process = subprocess.Popen([BINARY, *map(changed, service["command"])],
                                   stdout=output, stderr=output, env=ENVIRONMENT | settings)
    try:
        yield until(f"{name} listens", lambda: re.search(pattern, log.read_text()), 15)[1]
    finally:
        process.terminate()
        process.wait(30)


def check_services():
    vendor, service = SERVICES["simulator"], SERVICES["service"]
    check("one image for both", vendor["image"] == service["image"])
    check("the simulator speaks no gRPC, so it is not asked for its health",
          vendor["healthcheck"]["disable"] is True)
    usage = subprocess.run([BINARY, "serve", "--help"], capture_output=True, text=True, check=True)
    known = set(re.findall(r"\[env: (GOTOASSIST_[A-Z_]+)", usage.stdout))
    unknown = service["environment"].keys() - known
    check("every setting is one of the service's", not unknown, unknown)
    [grace] = re.findall(r"--drain-grace <.*?\[default: (\w+)\]", usage.stdout, re.S)
    check("it is given the time to drain", seconds(service["stop_grace_period"]) > seconds(grace),
          (service["stop_grace_period"], grace))

    with running("simulator", r"http://(127\.0\.0\.1:\d+)/G2A", ("0.0.0.0:8089", "127.0.0.1:0")) as host:
        serving = r'(?s)serving.*?address\S*?[=:]\S*?(127\.0\.0\.1:\d+)'
        with running("service", serving, ("simulator:8089", host)) as address:
            answer = subprocess.run(
                [BINARY, "get", "250040353", "--server", f"http://{address}", "--token", "any"],
                capture_output=True, text=True, env=ENVIRONMENT)
            check("its commands start, and a call goes through to the simulator",
                  "SESSION_STATUS_" in answer.stdout, answer.stderr)


check_files()
check_services()
finish()

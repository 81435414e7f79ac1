"""Checks compose.yaml. The library of docker compose reads the file. The real binary runs its
commands, on free ports of this machine instead of those of the containers. The tests start no
container and pull no image. test_image.py checks the image."""

import json
import pathlib
import re

import pytest

from processes import Program
from tools import BINARY, ENVIRONMENT, ROOT, binary, go_program, run


def read(*arguments):
    reader = go_program("github.com/compose-spec/compose-go/v2/cmd", "v2.16.2")
    return run(reader, *arguments)


@pytest.fixture(scope="module")
def services():
    project = read("-format", "json", ROOT / "compose.yaml").expect(0)
    return json.loads(project.stdout)["services"]


@pytest.fixture(scope="module")
def usage():
    return binary("serve", "--help", "advanced").expect(0).stdout


def mounts(service):
    return {each["target"]: pathlib.Path(each["source"]) for each in service["volumes"]}


def seconds(text):
    """The seconds of a duration as compose-go prints it."""
    units = {"h": 3600, "m": 60, "s": 1}
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)([hms])", text))


def test_an_invalid_file_is_refused(scratch):
    file = scratch / "compose.yaml"
    file.write_text((ROOT / "compose.yaml").read_text().replace("cap_drop:", "cap_dorp:"))
    read(file).expect(1)


def test_every_mounted_file_exists(services):
    paths = [path for name in ("prometheus", "grafana") for path in mounts(services[name]).values()]
    assert not [path for path in paths if not path.is_file()]


def test_prometheus_rules_are_mounted_where_it_looks(services):
    mounted = mounts(services["prometheus"])
    named = re.findall(r"/etc/\S+\.yaml", mounted["/etc/prometheus/prometheus.yml"].read_text())
    assert named
    assert set(named) <= mounted.keys()


def test_prometheus_scrapes_a_service_of_the_file(services):
    config = mounts(services["prometheus"])["/etc/prometheus/prometheus.yml"].read_text()
    [target] = re.findall(r"targets: \[(\S+):9464\]", config)
    assert target in services


def test_grafana_starts_with_the_mounted_dashboard_of_the_folder_that_it_loads(services):
    mounted = mounts(services["grafana"])
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    providers = mounted["/etc/grafana/provisioning/dashboards/dashboards.yaml"].read_text()
    [folder] = re.findall(r"path: (\S+) }", providers)
    assert home in mounted
    assert str(pathlib.Path(home).parent) == folder


def test_grafana_source_is_a_service_of_the_file(services):
    folder = "/etc/grafana/provisioning/datasources"
    sources = mounts(services["grafana"])[f"{folder}/prometheus.yaml"].read_text()
    [source] = re.findall(r"url: http://(\S+):9090", sources)
    assert source in services


def test_one_image_for_both(services):
    assert services["simulator"]["image"] == services["service"]["image"]


def test_simulator_is_not_asked_for_its_health(services):
    """The simulator does not speak gRPC."""
    assert services["simulator"]["healthcheck"]["disable"] is True


def test_every_setting_is_one_of_the_services(services, usage):
    known = set(re.findall(r"\[env: (GOTOASSIST_[A-Z_]+)", usage))
    assert services["service"]["environment"].keys() <= known


def test_service_has_the_time_to_drain(services, usage):
    [grace] = re.findall(r"--drain-grace <.*?\[default: (\w+)\]", usage, re.DOTALL)
    assert seconds(services["service"]["stop_grace_period"]) > seconds(grace)


class Container(Program):
    """A service of the file as a process. `found` is the match of the pattern in its output."""

    def __init__(self, name, service, pattern, old="", new=""):
        # First the settings of the image, and then those of the file.
        names = ("LISTEN", "ADMIN_LISTEN", "SIMULATE_LISTEN")
        settings = {f"GOTOASSIST_{name}": "127.0.0.1:0" for name in names}
        for key, value in (service.get("environment") or {}).items():
            settings[key] = value.replace(old, new)
        command = [word.replace(old, new) for word in service["command"]]
        super().__init__(name, BINARY, *command, environment=ENVIRONMENT | settings)
        self.pattern = pattern

    def is_ready(self):
        if found := re.search(self.pattern, self.output()):
            self.found = found[1]
        return found


def test_a_call_goes_through_both_commands(services):
    vendor = Container("simulator", services["simulator"], r"http://(127\.0\.0\.1:\d+)/G2A")
    with vendor:
        service = Container(
            *("service", services["service"]),
            r"(?s)serving.*?address\S*?[=:]\S*?(127\.0\.0\.1:\d+)",
            *("simulator:8089", vendor.found),
        )
        with service:
            server = f"http://{service.found}"
            answer = binary("get", "250040353", "--server", server, "--token", "any")
            assert "SESSION_STATUS_" in answer.stdout, answer.stderr

"""Checks the Helm chart. helm lints it and renders it with every values file. The resources are
checked against the schemas of Kubernetes, Istio and the Prometheus operator. The real binary runs
with the settings of the chart.

helm and the schemas of Istio and the operator are Go modules. Kubernetes' schemas come from PyPI.
No cluster and no chart repository is needed. Building helm takes a few minutes the first time."""

import functools
import hashlib
import json
import pathlib
import re

import jsonschema
import kubernetes_validate
import pytest
import yaml

import certificates
from processes import Program, free_port, http
from tools import BINARY, ROOT, binary, go_program, install, run

CHART = ROOT / "deploy/helm/gotoassist-grpc"
VALUES = ["values.yaml", *sorted(path.name for path in CHART.glob("values-*.yaml"))]
# The oldest version that the chart supports, and a recent one.
KUBERNETES = ["1.27.0", "1.33.0"]
# The Go modules with the schemas of custom resources, and the folder of the schemas in each.
CUSTOM = [
    ("sigs.k8s.io/gateway-api@v1.3.0", "config/crd/standard"),
    ("istio.io/api@v1.27.0", "kubernetes"),
    (
        "github.com/prometheus-operator/prometheus-operator@v0.85.0",
        "example/prometheus-operator-crd",
    ),
]
# No package registry has the schemas of these groups.
UNCHECKED = {"policy.linkerd.io"}
# The chart has no default for it.
IMAGE = "image.repository=registry.example.com/gotoassist-grpc"
SERVICE_CREDENTIALS = [
    "credentials.mode=service",
    "credentials.clientId=i",
    "credentials.existingSecret=s",
]
REFUSED = {
    "a replica without a share of the quota": ["replicas=10"],
    "service credentials without a secret": ["credentials.mode=service"],
    "service credentials for anybody": SERVICE_CREDENTIALS,
    "callers' certificates without TLS": [*SERVICE_CREDENTIALS, "callers.allowClients={a}"],
    "an Ingress for callbacks without their secrets": [
        "callback.ingress.enabled=true",
        "callback.ingress.host=callbacks.example.org",
        "callback.ingress.tlsSecret=s",
    ],
    "an Ingress for callbacks without TLS": [
        "callback.existingSecret=s",
        "callback.ingress.enabled=true",
        "callback.ingress.host=callbacks.example.org",
    ],
    "a user of a fleet without the fleet": ["fleet.user=u"],
    "a fleet with a quota for each credential": [
        "fleet.existingSecret=s",
        "upstream.quotaScope=credential",
    ],
    "a drain without time": ["drain.delaySeconds=25"],
    "a misspelt value": ["replica=2"],
    "a refresh token for several replicas": [
        *SERVICE_CREDENTIALS,
        "callers.trustNetwork=true",
        "credentials.refreshTokenClaim=c",
    ],
    "a gateway without a parent": ["gateway.enabled=true"],
    "a setting as an extra variable": ["extraEnv[0].name=GOTOASSIST_UPSTREAM_RPS"],
    "a misspelt setting": ["settings.GOTOASSIST_UPSTREAM_RSP=5"],
    "a setting of another value of the chart": ["settings.GOTOASSIST_UPSTREAM_RPS=5"],
    "a secret in clear": ["settings.GOTOASSIST_RESUME_KEY=k"],
    "a proxy's password in clear": ["settings.GOTOASSIST_UPSTREAM_PROXY=http://u:p@proxy:3128"],
}


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """YAML in which a bare `=` is a text, as the operator's definitions have it."""


Loader.add_constructor("tag:yaml.org,2002:value", lambda loader, node: node.value)


def helm(command, *arguments, version=KUBERNETES[-1]):
    program = go_program("helm.sh/helm/v3/cmd/helm", "v3.18.6")
    return run(program, command, *arguments, "--kube-version", version)


@functools.cache
def render(values, version=KUBERNETES[-1], settings=()):
    """The resources that the chart renders from a values file and from additional settings."""
    outcome = helm(
        *("template", "support", CHART, "--namespace", "support", "--values", CHART / values),
        *(word for each in (IMAGE, *settings) for word in ("--set", each)),
        version=version,
    ).expect(0)
    return [each for each in yaml.safe_load_all(outcome.stdout) if each]


def pod(values):
    [deployment] = [each for each in render(values) if each["kind"] == "Deployment"]
    return deployment["spec"]["template"]["spec"]


def settings(values):
    [container] = pod(values)["containers"]
    return {each["name"]: each.get("value", from_secret(each)) for each in container["env"]}


def from_secret(variable):
    """The value of a variable from a Secret. Nobody listens at this address."""
    return {"fleet-url": "rediss://localhost:1"}.get(
        variable.get("valueFrom", {}).get("secretKeyRef", {}).get("key")
    )


def strict(schema):
    """The same schema, except that a field that it does not name is an error."""
    if not isinstance(schema, dict):
        return schema
    schema = dict(schema)
    if "properties" in schema:
        schema["properties"] = {k: strict(v) for k, v in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
    for key in ("items", "additionalProperties"):
        if key in schema:
            schema[key] = strict(schema[key])
    return schema


@pytest.fixture(scope="module")
def custom_schemas():
    """The schema of each custom resource, by apiVersion and kind."""
    schemas = {}
    for module, folder in CUSTOM:
        flags = {"GOFLAGS": "-mod=mod"}
        found = install("go", "mod", "download", "-json", module, cwd="/", environment=flags)
        for path in (pathlib.Path(json.loads(found.stdout)["Dir"]) / folder).glob("*.yaml"):
            for document in yaml.load_all(path.read_text(), Loader):
                if not document or document.get("kind") != "CustomResourceDefinition":
                    continue
                group, kind = document["spec"]["group"], document["spec"]["names"]["kind"]
                for version in document["spec"]["versions"]:
                    properties = version["schema"]["openAPIV3Schema"]["properties"]
                    schemas[f"{group}/{version['name']}", kind] = strict(properties["spec"])
    return schemas


def problem(resource, version, custom):
    """The problem of a resource. None if there is none, and "unchecked" if there is no schema."""
    key = resource["apiVersion"], resource["kind"]
    try:
        if key in custom:
            jsonschema.Draft202012Validator(custom[key]).validate(resource["spec"])
        elif key[0].split("/")[0] in UNCHECKED:
            return "unchecked"
        else:
            kubernetes_validate.validate(resource, version, strict=True)
    except (
        jsonschema.ValidationError,
        kubernetes_validate.SchemaNotFoundError,
        kubernetes_validate.ValidationError,
    ) as error:
        return f"{key[1]}: {getattr(error, 'message', error)} at {list(getattr(error, 'path', []))}"
    return None


def of_kind(kind, values):
    return [each for each in render(values) if each["kind"] == kind]


def test_callbacks_come_through_an_ingress_for_their_path_only():
    values = "values-callback.yaml"
    [ingress] = of_kind("Ingress", values)
    [rule] = ingress["spec"]["rules"]
    [path] = rule["http"]["paths"]
    assert path["path"] == "/callbacks/session-status"
    assert [rule["host"]] == ingress["spec"]["tls"][0]["hosts"]
    backend = path["backend"]["service"]
    [service] = [
        each for each in of_kind("Service", values) if each["metadata"]["name"] == backend["name"]
    ]
    [port] = [each for each in service["spec"]["ports"] if each["name"] == backend["port"]["name"]]
    [container] = pod(values)["containers"]
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    listen = settings(values)["GOTOASSIST_CALLBACK_LISTEN"]
    assert listen == f"0.0.0.0:{ports[port['targetPort']]}"
    mounts = {each["mountPath"] for each in container["volumeMounts"]}
    file = pathlib.PurePath(settings(values)["GOTOASSIST_CALLBACK_SECRET_FILE"])
    assert str(file.parent) in mounts
    [policy] = of_kind("NetworkPolicy", values)
    allowed = [each["port"] for rule in policy["spec"]["ingress"] for each in rule["ports"]]
    assert allowed == ["grpc", "admin", "callback"]


def test_a_mesh_lets_callbacks_through_for_their_path_only(custom_schemas):
    resources = render("values-istio.yaml", settings=("callback.existingSecret=s",))
    found = [problem(each, KUBERNETES[-1], custom_schemas) for each in resources]
    assert not any(found), found
    by_kind = {each["kind"]: each.get("spec") for each in resources}
    rules = by_kind["AuthorizationPolicy"]["rules"]
    [operation] = [
        to["operation"] for rule in rules for to in rule["to"] if "8090" in to["operation"]["ports"]
    ]
    assert operation["methods"] == ["POST"]
    assert operation["paths"] == ["/callbacks/session-status/*"]
    routes = by_kind["VirtualService"]["http"]
    ports = [route["match"][0]["port"] for route in routes]
    assert ports == [8090, 9464, 50051, 50051]
    for route in routes[:2] + routes[3:]:
        assert route["route"][0]["destination"]["port"]["number"] == route["match"][0]["port"]
    # As Envoy answers it: deploy/envoy/envoy.yaml.
    assert routes[2]["match"][0]["uri"] == {"exact": "/grpc.health.v1.Health/Watch"}
    assert routes[2]["directResponse"] == {"status": 404}


def test_a_fleet_shares_the_whole_quota_and_may_reach_its_redis():
    values = "values-fleet.yaml"
    assert settings(values)["GOTOASSIST_UPSTREAM_RPS"] == "9"
    [container] = pod(values)["containers"]
    mounts = {each["mountPath"] for each in container["volumeMounts"]}
    for name in ("KEY", "PASSWORD", "CA"):
        file = pathlib.PurePath(settings(values)[f"GOTOASSIST_FLEET_{name}_FILE"])
        assert str(file.parent) in mounts
    [policy] = of_kind("NetworkPolicy", values)
    ports = [port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]]
    assert 6379 in ports


@pytest.mark.parametrize("values", [each for each in VALUES if "fleet" not in each])
def test_without_a_secret_there_is_no_fleet(values):
    assert "fleet" not in json.dumps(of_kind("Deployment", values)).lower()


@pytest.mark.parametrize("values", [each for each in VALUES if "callback" not in each])
def test_without_a_secret_no_port_is_open_for_callbacks(values):
    assert "callback" not in json.dumps(render(values))


def test_alerts_are_those_for_any_prometheus_and_lead_to_a_runbook():
    [resource] = of_kind("PrometheusRule", "values-operations.yaml")
    rules = yaml.safe_load((ROOT / "deploy/prometheus/rules.yaml").read_text())
    assert resource["spec"] == rules
    settings = ("prometheusRule.runbookBaseUrl=https://git.example.org/main/",)
    resources = render("values-operations.yaml", settings=settings)
    [resource] = [each for each in resources if each["kind"] == "PrometheusRule"]
    found = [rule for group in resource["spec"]["groups"] for rule in group["rules"]]
    links = [rule["annotations"]["runbook_url"] for rule in found if "alert" in rule]
    assert links
    assert all(link.startswith("https://git.example.org/main/docs/runbook.md#") for link in links)


def test_only_one_process_refreshes_the_token():
    [deployment] = of_kind("Deployment", "values-refresh-token.yaml")
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}
    assert deployment["spec"]["replicas"] == 1


EXTRAS = (
    "extraEnv[0].name=HTTPS_PROXY",
    "extraEnv[0].valueFrom.secretKeyRef.name=proxy",
    "extraEnv[0].valueFrom.secretKeyRef.key=url",
    "extraVolumes[0].name=authorities",
    "extraVolumes[0].configMap.name=authorities",
    "extraVolumeMounts[0].name=authorities",
    "extraVolumeMounts[0].mountPath=/etc/authorities",
    "podSecurityContext.runAsUser=1000",
    "dashboard.enabled=true",
    "gateway.enabled=true",
    "gateway.parentRefs[0].name=gateway",
    "networkPolicy.enabled=true",
    "networkPolicy.dns[0].podSelector.matchLabels.k8s-app=coredns",
)


def test_a_cluster_may_differ(custom_schemas):
    resources = render("values.yaml", settings=EXTRAS)
    assert not any(problem(each, KUBERNETES[-1], custom_schemas) for each in resources)
    by_kind = {each["kind"]: each for each in resources}
    spec = by_kind["Deployment"]["spec"]["template"]["spec"]
    [container] = spec["containers"]
    assert spec["securityContext"]["runAsUser"] == 1000
    assert container["env"][-1]["name"] == "HTTPS_PROXY"
    assert container["volumeMounts"][-1]["mountPath"] == "/etc/authorities"
    assert spec["volumes"][-1]["name"] == "authorities"
    dashboard = json.loads(by_kind["ConfigMap"]["data"]["gotoassist-grpc.json"])
    assert dashboard == json.loads((ROOT / "deploy/grafana/gotoassist-grpc.json").read_text())
    [rule] = by_kind["GRPCRoute"]["spec"]["rules"]
    assert rule["backendRefs"] == [{"name": "support-gotoassist-grpc", "port": 50051}]
    [dns] = by_kind["NetworkPolicy"]["spec"]["egress"][0]["to"]
    assert dns["podSelector"] == {"matchLabels": {"k8s-app": "coredns"}}
    # `helm test` is none of the replicas, and may ask the admin port.
    test = by_kind["Pod"]
    selector = by_kind["Service"]["spec"]["selector"]
    assert not selector.items() <= test["metadata"]["labels"].items()
    allowed = by_kind["NetworkPolicy"]["spec"]["ingress"][1]["from"][-1]["podSelector"]
    assert allowed["matchLabels"].items() <= test["metadata"]["labels"].items()


def test_lint():
    helm("lint", "--strict", CHART, "--set", IMAGE).expect(0)


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("values", VALUES)
def test_kubernetes_accepts_each_resource(values, version, custom_schemas, note):
    resources = render(values, version)
    found = [problem(each, version, custom_schemas) for each in resources]
    unchecked = found.count("unchecked")
    if unchecked:
        note(f"{len(found)} resources, {unchecked} of them without a schema")
    assert not [each for each in found if each not in (None, "unchecked")]


@pytest.mark.parametrize("values", VALUES)
def test_pod_outlives_its_drain(values):
    grace = int(settings(values)["GOTOASSIST_DRAIN_GRACE"].rstrip("s"))
    assert pod(values)["terminationGracePeriodSeconds"] > grace


@pytest.mark.parametrize("values", VALUES)
def test_every_setting_is_one_of_the_services(values):
    usage = binary("serve", "--help", "advanced").expect(0).stdout
    assert settings(values).keys() <= set(re.findall(r"\[env: (GOTOASSIST_[A-Z_]+)", usage))


@pytest.fixture(scope="module")
def secrets(scratch):
    """Files in place of the secrets that the chart mounts."""
    for name, text in {
        "credentials/client-secret": "s",
        "credentials/personal-access-token": "p",
        "refresh/refresh-token": "r",
        "resume/resume-key": "k",
        "callback/callback-secrets": "a-secret-of-a-callback",
        "fleet/fleet-key": "k" * 32,
        "fleet/fleet-password": "p",
        "callers/tokens": hashlib.sha256(b"t").hexdigest(),
    }.items():
        path = scratch / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    folder = scratch / "tls"
    folder.mkdir()
    certificates.self_signed(folder, "tls", "-addext", "subjectAltName=DNS:localhost")
    for copy in (folder / "ca.crt", scratch / "fleet/fleet-ca.crt"):
        copy.write_bytes((folder / "tls.crt").read_bytes())
    return scratch


class Container(Program):
    """The service with the environment of the chart's container, and no other."""

    def __init__(self, values, secrets):
        self.admin = f"127.0.0.1:{free_port()}"
        environment = {
            name: value.replace("/etc/gotoassist", str(secrets)).replace(
                "/var/lib/gotoassist", str(secrets / "refresh")
            )
            for name, value in settings(values).items()
        } | {
            "GOTOASSIST_LISTEN": "127.0.0.1:0",
            "GOTOASSIST_ADMIN_LISTEN": self.admin,
            # This setting turns a feature on, so it is set only if the chart sets it.
            **({"GOTOASSIST_CALLBACK_LISTEN": "127.0.0.1:0"} if "callback" in values else {}),
            # No load balancer has to notice the drain here.
            "GOTOASSIST_DRAIN_DELAY": "100ms",
        }
        [container] = pod(values)["containers"]
        super().__init__(values, BINARY, *container["args"], environment=environment)

    def is_ready(self):
        return http("GET", f"http://{self.admin}/readyz")


@pytest.mark.parametrize("values", VALUES)
def test_service_starts_with_the_settings_and_drains(values, secrets):
    with Container(values, secrets) as service:
        status, _ = service.terminate()
        assert status == 0


@pytest.mark.parametrize("what", REFUSED)
def test_chart_refuses(what):
    words = [word for each in (IMAGE, *REFUSED[what]) for word in ("--set", each)]
    assert helm("template", "t", CHART, *words).status != 0


def test_chart_without_values_asks_for_an_image():
    helm("template", "t", CHART).expect(1, "image.repository must be set")
    helm("template", "t", CHART, "--set", IMAGE).expect(0)

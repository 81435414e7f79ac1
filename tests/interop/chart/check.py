"""Checks the Helm chart without a cluster."""

import hashlib
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import jsonschema
import kubernetes_validate
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[3]
CHART = ROOT / "deploy/helm/gotoassist-grpc"
BINARY, HELM = os.environ["INTEROP_BINARY"], os.environ["HELM"]
SCRATCH = pathlib.Path(os.environ["INTEROP_SCRATCH"])
SCHEMAS = os.environ["CHART_SCHEMAS"].split(":")
# The oldest that the chart names, and a new one.
KUBERNETES = ["1.27.0", "1.33.0"]
# Their schemas cannot be had from a package registry.
UNCHECKED = {"policy.linkerd.io"}
REFUSED = {
    "a replica without a share of the quota": ["replicas=10"],
    "service credentials without a secret": ["credentials.mode=service"],
    "service credentials for anybody": [
        "credentials.mode=service", "credentials.clientId=i", "credentials.existingSecret=s"],
    "callers' certificates without TLS": [
        "credentials.mode=service", "credentials.clientId=i", "credentials.existingSecret=s",
        "callers.allowClients={a}"],
    "a drain without time": ["drain.delaySeconds=25"],
    "a misspelt value": ["replica=2"],
}
failures = []


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """YAML in which a bare `=` is a text, as the operator's definitions have it."""


Loader.add_constructor("tag:yaml.org,2002:value", lambda loader, node: node.value)


def check(what, is_good, detail=""):
    print(f"{'ok' if is_good else 'not ok'} {what}" + (f": {detail}" if detail else ""), flush=True)
    if not is_good:
        failures.append(what)


def helm(*arguments):
    return subprocess.run([HELM, *arguments], capture_output=True, text=True, check=False)


def render(values, version=KUBERNETES[-1]):
    files = [word for each in values for word in ("--values", str(each))]
    answer = helm("template", "support", str(CHART), "--namespace", "support",
                  "--kube-version", version, *files)
    if answer.returncode:
        raise RuntimeError(answer.stderr.strip())
    return [each for each in yaml.safe_load_all(answer.stdout) if each]


def strict(schema):
    """The same schema, in which a field it does not name is an error, not ignored."""
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


def custom_schemas():
    """The schema of each custom resource, by apiVersion and kind."""
    schemas = {}
    for folder in SCHEMAS:
        for path in pathlib.Path(folder).glob("*.yaml"):
            for document in yaml.load_all(path.read_text(), Loader):
                if not document or document.get("kind") != "CustomResourceDefinition":
                    continue
                group, kind = document["spec"]["group"], document["spec"]["names"]["kind"]
                for version in document["spec"]["versions"]:
                    properties = version["schema"]["openAPIV3Schema"]["properties"]
                    schemas[f"{group}/{version['name']}", kind] = strict(properties["spec"])
    return schemas


def problem(resource, version, custom):
    """What is wrong with one resource; None if nothing, "unchecked" if nobody knows."""
    key = resource["apiVersion"], resource["kind"]
    try:
        if key in custom:
            jsonschema.Draft202012Validator(custom[key]).validate(resource["spec"])
        elif key[0].split("/")[0] in UNCHECKED:
            return "unchecked"
        else:
            kubernetes_validate.validate(resource, version, strict=True)
    except (jsonschema.ValidationError, kubernetes_validate.SchemaNotFoundError,
            kubernetes_validate.ValidationError) as error:
        return f"{key[1]}: {getattr(error, 'message', error)} at {list(getattr(error, 'path', []))}"
    return None


def check_schemas(name, values, custom):
    for version in KUBERNETES:
        found = [problem(each, version, custom) for each in render(values, version)]
        bad = [each for each in found if each not in (None, "unchecked")]
        unchecked = found.count("unchecked")
        check(f"{name}: Kubernetes {version} takes it", not bad,
              "; ".join(bad) or f"{len(found)} resources"
              + (f", {unchecked} of them without a schema" if unchecked else ""))


def check_drain(name, resources):
    [pod] = [each["spec"]["template"]["spec"] for each in resources if each["kind"] == "Deployment"]
    [container] = pod["containers"]
    grace = next(int(each["value"].rstrip("s")) for each in container["env"]
                 if each["name"] == "GOTOASSIST_DRAIN_GRACE")
    check(f"{name}: the pod outlives its drain", pod["terminationGracePeriodSeconds"] > grace)


def secrets(folder):
    """Stand-ins for all that the chart mounts."""
    for name, text in {
        "credentials/client-secret": "s", "credentials/personal-access-token": "p",
        "refresh/refresh-token": "r", "resume/resume-key": "k",
        "callers/tokens": hashlib.sha256(b"t").hexdigest(),
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    tls = folder / "tls"
    tls.mkdir(exist_ok=True)
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "2", "-subj", "/CN=test", "-addext", "subjectAltName=DNS:localhost",
         "-keyout", tls / "tls.key", "-out", tls / "tls.crt"], check=True, capture_output=True)
    (tls / "ca.crt").write_bytes((tls / "tls.crt").read_bytes())


def check_settings(name, resources, known):
    """The container's environment starts the real service, and SIGTERM ends it."""
    [pod] = [each["spec"]["template"]["spec"] for each in resources if each["kind"] == "Deployment"]
    [container] = pod["containers"]
    settings = {each["name"]: each["value"] for each in container["env"]}
    check(f"{name}: every setting is one of the service's", not settings.keys() - known,
          ", ".join(settings.keys() - known))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder = SCRATCH / "etc"
    for key, value in settings.items():
        value = value.replace("/etc/gotoassist", str(folder))
        settings[key] = value.replace("/var/lib/gotoassist", str(folder / "refresh"))
    settings |= {
        "GOTOASSIST_LISTEN": "127.0.0.1:0",
        "GOTOASSIST_ADMIN_LISTEN": f"127.0.0.1:{port}",
        # There is nobody here who would have to notice.
        "GOTOASSIST_DRAIN_DELAY": "100ms",
    }
    process = subprocess.Popen([BINARY, *container["args"]], env=settings, text=True,
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        end = time.monotonic() + 20
        is_ready = False
        while not is_ready and time.monotonic() < end and process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
                    is_ready = answer.status == 200
            except OSError:
                time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, text = process.communicate(timeout=30)
        good = is_ready and process.returncode == 0
        check(f"{name}: the service starts with them, and drains", good,
              "" if good else text.strip()[-300:])
    finally:
        process.kill()


def main():
    answer = helm("lint", "--strict", str(CHART), "--kube-version", KUBERNETES[-1])
    check("helm lint --strict", answer.returncode == 0, "" if answer.returncode == 0 else answer.stdout)
    usage = subprocess.run([BINARY, "serve", "--help"], capture_output=True, text=True, check=True)
    known = set(re.findall(r"\[env: (GOTOASSIST_[A-Z_]+)", usage.stdout))
    custom = custom_schemas()
    secrets(SCRATCH / "etc")
    files = sorted(CHART.glob("values-*.yaml"))
    for name, values in [("values.yaml", [])] + [(each.name, [each]) for each in files]:
        check_schemas(name, values, custom)
        resources = render(values)
        check_drain(name, resources)
        check_settings(name, resources, known)
    for what, settings in REFUSED.items():
        words = [word for each in settings for word in ("--set", each)]
        answer = helm("template", "t", str(CHART), "--kube-version", KUBERNETES[-1], *words)
        check(f"refused: {what}", answer.returncode != 0)
    return 1 if failures else 0


sys.exit(main())

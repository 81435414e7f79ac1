"""Mutual TLS between Envoy and the service, by SPIFFE identities."""

import asyncio
import contextlib
import subprocess

import grpc
import yaml
from gotoassist.remotesupport.v1 import (
    remote_support_service_pb2 as messages,
    remote_support_service_pb2_grpc as stubs,
)

from mesh.processes import ROOT, RUN, Envoy, Replica, Simulator
from mesh.watching import channels

SERVICE = "spiffe://example.org/ns/support/sa/gotoassist-grpc"
EDGE = "spiffe://example.org/ns/edge/sa/envoy"
OTHER = "spiffe://example.org/ns/edge/sa/envoy-of-somebody-else"
TLS = RUN / "tls"


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, cwd=TLS, capture_output=True)


def authority(name):
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-days", "2", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.crt")


def certificate(name, uri, signer="ca"):
    """A key and a certificate whose only name is the URI."""
    (TLS / f"{name}.ext").write_text(
        f"subjectAltName=URI:{uri}\nkeyUsage=critical,digitalSignature\n"
        "extendedKeyUsage=serverAuth,clientAuth\nbasicConstraints=critical,CA:FALSE\n")
    openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-subj", "/", "-keyout", f"{name}.key", "-out", f"{name}.csr")
    openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{signer}.crt", "-CAkey",
            f"{signer}.key", "-CAcreateserial", "-days", "2", "-extfile", f"{name}.ext",
            "-out", f"{name}.crt")


def mutual_tls(client, service=SERVICE):
    """`deploy/envoy/upstream-mtls.yaml` with these files and this identity of the replicas."""
    def change(cluster):
        document = yaml.safe_load((ROOT / "deploy/envoy/upstream-mtls.yaml").read_text())
        context = document["transport_socket"]["typed_config"]["common_tls_context"]
        [own] = context["tls_certificates"]
        own["certificate_chain"]["filename"] = str(TLS / f"{client}.crt")
        own["private_key"]["filename"] = str(TLS / f"{client}.key")
        context["validation_context"]["trusted_ca"]["filename"] = str(TLS / "ca.crt")
        [name] = context["validation_context"]["match_typed_subject_alt_names"]
        name["matcher"]["exact"] = service
        cluster.update(document)
    return change


async def answer(envoy):
    """The status of a call through Envoy without any credential of its own, and its text."""
    [channel] = channels(envoy.address, 1)
    async with channel:
        stub = stubs.RemoteSupportServiceStub(channel)
        request = messages.GetSessionRequest(session_id="250040303")
        try:
            await stub.GetSession(request, timeout=5)
            return "OK", ""
        except grpc.aio.AioRpcError as error:
            return error.code().name, error.details()


class NeverHealthy(Envoy):
    """An Envoy that cannot reach its replicas."""

    def is_ready(self):
        health = self.health()
        return len(health) == len(self.replicas) and all(health.values())


async def run(report):
    TLS.mkdir(exist_ok=True)
    authority("ca")
    authority("stranger-ca")
    certificate("service", SERVICE)
    certificate("edge", EDGE)
    certificate("other", OTHER)
    certificate("stranger", EDGE, signer="stranger-ca")
    for secret in ("client-secret", "refresh-token"):
        (TLS / secret).write_text("for-the-simulator\n")
    with contextlib.ExitStack() as stack:
        simulator = stack.enter_context(Simulator())
        arguments = [
            "--credentials", "service", "--client-id", "mesh",
            "--client-secret-file", str(TLS / "client-secret"),
            "--refresh-token-file", str(TLS / "refresh-token"),
            "--token-url", f"{simulator.url}/oauth/token",
            "--tls-cert", str(TLS / "service.crt"), "--tls-key", str(TLS / "service.key"),
            "--client-ca", str(TLS / "ca.crt"), "--allow-client", EDGE,
        ]
        replicas = [stack.enter_context(Replica(each, simulator.url, *arguments)) for each in range(3)]
        with Envoy(replicas, mutual_tls("edge"), name="envoy-mtls") as envoy:
            code, _ = await answer(envoy)
            report.check("mTLS: the right identity is served", code == "OK", code)
        with Envoy(replicas, mutual_tls("other"), name="envoy-mtls-other") as envoy:
            code, text = await answer(envoy)
            report.check("mTLS: another identity of the authority is refused",
                         code == "PERMISSION_DENIED", f"{code}: {text}")
        for name, client, service in [
            ("a certificate of another authority", "stranger", SERVICE),
            ("a replica with another identity", "edge", OTHER),
        ]:
            envoy = NeverHealthy(replicas, mutual_tls(client, service), name=f"envoy-mtls-{client}-x")
            with envoy:
                code, text = await answer(envoy)
                report.check(f"mTLS: {name} is refused", code == "UNAVAILABLE", f"{code}: {text}")
        asked = await asyncio.to_thread(simulator.counters)
        principals = sorted(asked["byCredential"])
        report.check("mTLS: GoToAssist saw the service's own credential only",
                     principals == ["mesh@example.com"], ", ".join(principals))

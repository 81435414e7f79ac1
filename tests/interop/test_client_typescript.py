"""The client example in clients/typescript."""

from client_checks import ClientChecks


class TestTypeScript(ClientChecks):
    language = "typescript"

"""The client example in clients/go."""

from client_checks import ClientChecks


class TestGo(ClientChecks):
    language = "go"

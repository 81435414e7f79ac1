"""The client example in clients/python."""

from client_checks import ClientChecks


class TestPython(ClientChecks):
    language = "python"

"""The client example in clients/java."""

from client_checks import ClientChecks


class TestJava(ClientChecks):
    language = "java"

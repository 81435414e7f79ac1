"""What the client example of each language has to do."""


class ClientChecks:
    """A test file for each language has a subclass. The tests run in this order on one demo."""

    language: str

    def test_several_sessions_on_one_connection(self, client):
        client("get", "250040353", "250040354", "250040355").expect(
            0,
            *("250040353", "99999822536216596540"),
            *("SESSION_STATUS_COMPLETE", "SESSION_STATUS_NOT_STARTED"),
        )

    def test_links_of_a_domain(self, client):
        client("links", "two.example.com").expect(0, "systemLinks", "Billing", "callbackURL")

    def test_unknown_session_has_error_info(self, client):
        client("get", "nobody").expect(1, "NOT_FOUND", "SESSION_NOT_FOUND", "http_status")

    def test_refused_argument_is_a_bad_request(self, client):
        client("links", "").expect(1, "INVALID_ARGUMENT", "ARGUMENT_INVALID", "system_domain")

    def test_refused_credential(self, client):
        client("get", "250040353", token="bad-token").expect(
            1, "UNAUTHENTICATED", "CREDENTIAL_REJECTED"
        )

    def test_watch_until_the_session_is_over(self, client, demo):
        demo.vendor.put(self.language, (0, "waiting"), (3, "active"), (6, "complete"))
        client("watch", self.language).expect(
            0,
            *("EVENT_TYPE_SNAPSHOT", "EVENT_TYPE_CHANGED"),
            *("SESSION_STATUS_COMPLETE", "terminal"),
        )

    def test_many_sessions_on_one_stream(self, client, demo):
        first, second = f"{self.language}-first", f"{self.language}-second"
        demo.vendor.put(first, (0, "waiting"), (3, "active"), (6, "complete"))
        demo.vendor.put(second, (0, "waiting"), (4, "abandoned"))
        client("watch-many", first, second).expect(
            0, first, second, "SESSION_STATUS_COMPLETE", "SESSION_STATUS_ABANDONED", "ended"
        )

    def test_one_of_many_sessions_ends_alone(self, client, demo):
        session = f"{self.language}-alone"
        demo.vendor.put(session, (0, "waiting"), (3, "abandoned"))
        client("watch-many", session, "nobody", "").expect(
            1, "SESSION_NOT_FOUND", "ARGUMENT_INVALID", "SESSION_STATUS_ABANDONED"
        )

    def test_many_sessions_with_a_refused_credential(self, client):
        client("watch-many", "250040353", token="bad-token").expect(1, "CREDENTIAL_REJECTED")

    def test_watch_of_an_unknown_session(self, client):
        client("watch", "nobody").expect(1, "SESSION_NOT_FOUND")

    def test_watch_with_a_refused_argument(self, client):
        client("watch", "").expect(1, "INVALID_ARGUMENT", "ARGUMENT_INVALID")

    def test_watch_with_a_refused_credential(self, client):
        client("watch", "250040353", token="bad-token").expect(
            1, "UNAUTHENTICATED", "CREDENTIAL_REJECTED"
        )

    def test_watch_that_ends_with_internal_and_a_reason(self, client, demo):
        """Without a reason it would be a broken connection, and worth resuming."""
        demo.vendor.fail("250040304", {"kind": "html"})
        client("watch", "250040304").expect(1, "INTERNAL", "UPSTREAM_MALFORMED_RESPONSE")

    def test_retry_info_tells_when_to_come_back(self, client, demo):
        """The last test, since it stops all traffic to the vendor."""
        demo.vendor.fail("250040303", {"kind": "status", "status": 429, "retryAfter": 20}, times=1)
        client("get", "250040303").expect(
            1, "RESOURCE_EXHAUSTED", "UPSTREAM_RATE_LIMITED", "retryDelaySeconds"
        )

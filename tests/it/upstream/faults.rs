//! The error of each fault of the connection and of the body.

use std::{io::Write as _, time::Duration};

use gotoassist_grpc::{model::Status, wire::Kind};
use tokio::time::Instant;

use super::{caller, client, client_with, id, kind, outcome, terms};
use crate::kit::stub::{Step, Stub, answer, ok};

const SESSION: &str = r#"{"sessionId":"250040353","status":"active"}"#;

#[tokio::test]
async fn a_session_is_read_and_the_request_is_what_the_vendor_documents() {
    let stub = Stub::always(ok(SESSION)).await;
    let answer = client(&stub).session(&caller(), &id("250040353"), terms()).await.unwrap();
    assert_eq!(answer.content.session_id, "250040353");
    assert_eq!(answer.content.status(), Status::Active);
    let head = stub.heads().remove(0);
    assert!(head.starts_with("GET /G2A/rest/v1/sessions/250040353 HTTP/1.1\r\n"), "{head}");
    let head = head.to_lowercase();
    for line in ["authorization: bearer caller-token", "accept: application/json"] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{head}");
    }
}

#[tokio::test]
async fn html_with_status_200_is_malformed() {
    assert_eq!(kind(ok("<html><body>Please sign in</body></html>")).await, Kind::Malformed);
}

#[tokio::test]
async fn bad_json_is_malformed() {
    for body in ["{", "{\"status\":}", "{'status':'active'}", "{} {}", "{\"a\":01}", "nul"] {
        assert_eq!(kind(ok(body)).await, Kind::Malformed, "{body}");
    }
}

#[tokio::test]
async fn json_of_another_shape_is_malformed() {
    for body in ["[]", "null", "true", "17", "\"active\"", "[{\"status\":\"active\"}]"] {
        assert_eq!(kind(ok(body)).await, Kind::Malformed, "{body}");
    }
}

#[tokio::test]
async fn an_empty_body_is_malformed() {
    for body in ["", " \r\n", "\u{feff}"] {
        assert_eq!(kind(ok(body)).await, Kind::Malformed, "{body:?}");
    }
}

#[tokio::test]
async fn status_204_is_malformed() {
    let steps = vec![Step::Send(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec())];
    assert_eq!(kind(steps).await, Kind::Malformed);
}

#[tokio::test]
async fn invalid_utf8_is_malformed() {
    assert_eq!(kind(ok(b"{\"notes\":\"\xff\xfe\"}")).await, Kind::Malformed);
}

#[tokio::test]
async fn of_duplicate_keys_the_last_one_counts() {
    let body = r#"{"sessionId":"1","status":"waiting","sessionId":{"a":1},"sessionId":"2"}"#;
    assert_eq!(outcome(ok(body)).await.unwrap(), "2");
}

#[tokio::test]
async fn deep_nesting_is_kept_as_text() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let body = format!(r#"{{"sessionId":"3","extra":{deep}}}"#);
    assert_eq!(outcome(ok(body)).await.unwrap(), "3");
    let unclosed = format!(r#"{{"sessionId":"3","extra":{}"#, "[".repeat(100_000));
    assert_eq!(kind(ok(unclosed)).await, Kind::Malformed);
}

#[tokio::test]
async fn a_body_over_one_mebibyte_is_malformed_announced_or_not() {
    let body = |length: usize| format!(r#"{{"sessionId":"4","notes":"{}"}}"#, "x".repeat(length));
    assert_eq!(outcome(ok(body(1024 * 1024 - 30))).await.unwrap(), "4");
    assert_eq!(kind(ok(body(1024 * 1024))).await, Kind::Malformed);

    let head = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    let steps = vec![Step::Send(head), Step::Repeat(vec![b' '; 65_536])];
    assert_eq!(kind(steps).await, Kind::Malformed);
}

#[tokio::test]
async fn a_gzip_bomb_is_malformed_before_it_is_unpacked() {
    // Each byte on the wire becomes 1,029 blanks, which are 8 MiB in all.
    let bomb = gzip(&vec![b' '; 8 * 1024 * 1024]);
    assert!(bomb.len() < 10_000, "{}", bomb.len());
    assert_eq!(kind(answer("200 OK", &["content-encoding: gzip"], bomb)).await, Kind::Malformed);
}

#[tokio::test]
async fn gzip_and_zstd_are_asked_for_and_read() {
    let steps = answer("200 OK", &["content-encoding: gzip"], gzip(SESSION.as_bytes()));
    assert_eq!(outcome(steps).await.unwrap(), "250040353");
    let packed = zstd::encode_all(SESSION.as_bytes(), 1).unwrap();
    let stub = Stub::always(answer("200 OK", &["content-encoding: zstd"], packed)).await;
    client(&stub).session(&caller(), &id("1"), terms()).await.unwrap();
    let head = stub.heads().remove(0);
    let accepted = head.lines().find(|line| line.starts_with("accept-encoding")).unwrap();
    assert!(accepted.contains("gzip") && accepted.contains("zstd"), "{accepted}");
}

#[tokio::test]
async fn gzip_is_read_whatever_its_spelling() {
    for name in ["gzip", "GZIP", "Gzip", "x-gzip", "X-GZIP", " gzip "] {
        let header = format!("content-encoding: {name}");
        let steps = answer("200 OK", &[&header], gzip(SESSION.as_bytes()));
        assert_eq!(outcome(steps).await.unwrap(), "250040353", "{name}");
    }
    let packed = zstd::encode_all(SESSION.as_bytes(), 1).unwrap();
    let steps = answer("200 OK", &["content-encoding: ZSTD"], packed);
    assert_eq!(outcome(steps).await.unwrap(), "250040353");
}

#[tokio::test]
async fn every_member_of_gzip_and_every_frame_of_zstd_is_read() {
    let (first, second) = SESSION.as_bytes().split_at(20);
    let members = [gzip(first), gzip(b""), gzip(second)].concat();
    let steps = |packed| answer("200 OK", &["content-encoding: gzip"], packed);
    assert_eq!(outcome(steps(members.clone())).await.unwrap(), "250040353");
    let padded = [members, vec![0; 512]].concat();
    assert_eq!(outcome(steps(padded)).await.unwrap(), "250040353");
    let cut = [gzip(first), gzip(second)[..12].to_vec()].concat();
    assert_eq!(kind(steps(cut)).await, Kind::Malformed);
    let frames = [first, second].map(|part| zstd::encode_all(part, 1).unwrap()).concat();
    let steps = answer("200 OK", &["content-encoding: zstd"], frames);
    assert_eq!(outcome(steps).await.unwrap(), "250040353");
}

#[tokio::test]
async fn a_bomb_of_many_members_or_in_zstd_is_malformed() {
    // Each member of the gzip stream alone is within the limit.
    let members = gzip(&vec![b' '; 1024 * 1024]).repeat(64);
    let steps = answer("200 OK", &["content-encoding: gzip"], members);
    assert_eq!(kind(steps).await, Kind::Malformed);
    let frame = zstd::encode_all(&vec![b' '; 64 * 1024 * 1024][..], 1).unwrap();
    let steps = answer("200 OK", &["content-encoding: zstd"], frame);
    assert_eq!(kind(steps).await, Kind::Malformed);
}

#[tokio::test]
async fn a_packed_error_is_read_too() {
    let body = gzip(br#"{"int_err_code":"InvalidToken"}"#);
    let steps = |body| answer("403 Forbidden", &["content-encoding: gzip"], body);
    assert_eq!(kind(steps(body.clone())).await, Kind::CredentialRejected);
    // The text is complete, and only the checksum is missing.
    assert_eq!(kind(steps(body[..body.len() - 8].to_vec())).await, Kind::CredentialRejected);
}

#[tokio::test]
async fn a_body_that_is_not_what_its_encoding_says_is_malformed() {
    assert_eq!(kind(answer("200 OK", &["content-encoding: gzip"], SESSION)).await, Kind::Malformed);
    let mut cut = gzip(SESSION.as_bytes());
    cut.truncate(20);
    assert_eq!(kind(answer("200 OK", &["content-encoding: gzip"], cut)).await, Kind::Malformed);
}

#[tokio::test]
async fn half_a_body_then_close_is_unavailable() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"sessionId\":".to_vec();
    let error = outcome(vec![Step::Send(head.clone()), Step::Close]).await.unwrap_err();
    assert_eq!((error.kind, error.http_status), (Kind::Unavailable, Some(200)));
    assert_eq!(kind(vec![Step::Send(head), Step::Reset]).await, Kind::Unavailable);

    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"ses".to_vec();
    assert_eq!(kind(vec![Step::Send(chunked), Step::Close]).await, Kind::Unavailable);
}

#[tokio::test]
async fn a_chunk_that_is_none_is_malformed() {
    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n{\"ses".to_vec();
    assert_eq!(kind(vec![Step::Send(chunked), Step::Close]).await, Kind::Malformed);
}

#[tokio::test]
async fn close_and_reset_without_an_answer_are_unavailable() {
    assert_eq!(kind(vec![Step::Close]).await, Kind::Unavailable);
    assert_eq!(kind(vec![Step::Reset]).await, Kind::Unavailable);
    let half = b"HTTP/1.1 200 OK\r\ncontent-le".to_vec();
    assert_eq!(kind(vec![Step::Send(half), Step::Close]).await, Kind::Unavailable);
}

#[tokio::test]
async fn what_is_not_http_is_malformed() {
    for noise in ["SSH-2.0-OpenSSH_9.9\r\n\r\n", "HTTP/1.1 banana\r\n\r\n", "\0\0\0\0\0\0\0\0\r\n"]
    {
        assert_eq!(kind(vec![Step::Send(noise.into()), Step::Close]).await, Kind::Malformed);
    }
}

#[tokio::test]
async fn endless_headers_are_malformed() {
    let status = Step::Send(b"HTTP/1.1 200 OK\r\n".to_vec());
    let many = Step::Repeat(b"x-more: and more\r\n".repeat(100));
    assert_eq!(kind(vec![status.clone(), many]).await, Kind::Malformed);
    let long = Step::Repeat(vec![b'x'; 65_536]);
    assert_eq!(kind(vec![status, Step::Send(b"x-long: ".to_vec()), long]).await, Kind::Malformed);
}

#[tokio::test]
async fn more_than_a_hundred_header_fields_are_read() {
    let fields: Vec<_> = (0..190).map(|number| format!("x-field-{number}: value")).collect();
    let fields: Vec<_> = fields.iter().map(String::as_str).collect();
    assert_eq!(outcome(answer("200 OK", &fields, SESSION)).await.unwrap(), "250040353");
}

#[tokio::test]
async fn a_header_field_that_breaks_the_rules_is_passed_over() {
    let length = format!("content-length: {}", SESSION.len());
    for field in [
        "set-cookie: a=\x7f",
        "x-foo : bar",
        "x-foo: bar\r\n folded: line",
        " x-foo: bar",
        "x-\u{e9}: bar",
        "no colon",
        ": no name",
        "x foo: bar",
    ] {
        for before in ["", "content-type: application/json\r\n"] {
            let head = format!("HTTP/1.1 200 OK\r\n{before}{field}\r\n{length}\r\n\r\n");
            let steps = vec![Step::Send([head.as_bytes(), SESSION.as_bytes()].concat())];
            let outcome = outcome(steps).await;
            assert_eq!(outcome.as_deref().ok(), Some("250040353"), "{head:?}: {outcome:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_byte_a_second_is_a_timeout_after_the_limit_of_an_attempt() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 43\r\n\r\n".to_vec();
    let started_at = Instant::now();
    let error = outcome(vec![Step::Send(head), Step::Trickle(SESSION.into())]).await.unwrap_err();
    assert_eq!(error.kind, Kind::Timeout);
    assert_eq!(started_at.elapsed().as_secs(), 10);
    assert_eq!(kind(vec![Step::Trickle(b"HTTP/1.1 200 OK\r\n".to_vec())]).await, Kind::Timeout);
    assert_eq!(kind(vec![Step::Hang]).await, Kind::Timeout);
}

#[tokio::test(start_paused = true)]
async fn an_error_is_told_even_if_its_body_never_ends() {
    let head = b"HTTP/1.1 404 Not Found\r\ncontent-length: 43\r\n\r\n".to_vec();
    let slow = vec![Step::Send(head.clone()), Step::Trickle(SESSION.into())];
    let started_at = Instant::now();
    assert_eq!(kind(slow).await, Kind::NotFound);
    assert!(started_at.elapsed() <= Duration::from_secs(1));
    assert_eq!(kind(vec![Step::Send(head), Step::Close]).await, Kind::NotFound);
    let endless = b"HTTP/1.1 404 Not Found\r\n\r\n".to_vec();
    let endless = vec![Step::Send(endless), Step::Repeat(vec![b' '; 65_536])];
    assert_eq!(kind(endless).await, Kind::NotFound);
}

#[tokio::test]
async fn http_1_0_is_read_up_to_the_close() {
    let whole = format!("HTTP/1.0 200 OK\r\n\r\n{SESSION}");
    assert_eq!(outcome(vec![Step::Send(whole.into()), Step::Close]).await.unwrap(), "250040353");
    let half = format!("HTTP/1.0 200 OK\r\n\r\n{}", &SESSION[..20]);
    assert_eq!(kind(vec![Step::Send(half.into()), Step::Close]).await, Kind::Malformed);
}

#[tokio::test]
async fn interim_answers_are_passed_over() {
    let body_length = SESSION.len();
    let steps = vec![Step::Send(
        format!(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n\
             HTTP/1.1 200 OK\r\ncontent-length: {body_length}\r\n\r\n{SESSION}"
        )
        .into(),
    )];
    assert_eq!(outcome(steps).await.unwrap(), "250040353");
    let upgrade = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n".to_vec();
    assert_eq!(kind(vec![Step::Send(upgrade)]).await, Kind::UnexpectedStatus);
}

#[tokio::test]
async fn a_refused_connection_is_connect_failed() {
    let stub = Stub::always(vec![]).await;
    let client = client_with(&stub, |config| config.retries = 0);
    stub.stop().await;
    let error = client.session(&caller(), &id("1"), terms()).await.unwrap_err();
    assert_eq!(error.kind, Kind::ConnectFailed);
}

#[tokio::test]
async fn a_tls_handshake_that_nobody_answers_is_connect_failed() {
    let stub = Stub::always(ok(SESSION)).await;
    let client = client_with(&stub, |config| {
        config.retries = 0;
        config.url.set_scheme("https").unwrap();
        config.connect_timeout = Duration::from_millis(100);
    });
    let error = client.session(&caller(), &id("1"), terms()).await.unwrap_err();
    assert_eq!(error.kind, Kind::ConnectFailed);
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

//! What a request gets, and which hints it gives.

use std::fs;

use super::{Endpoint, OLDER, PATH, SECRET, code, exchange, post, without_date};
use crate::kit::project::root;

#[tokio::test]
async fn after_the_right_secret_the_answer_is_the_same_whatever_the_body() {
    let mut endpoint = Endpoint::open().await;
    let expected = "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
    let large = "x".repeat(65 * 1024);
    for body in [
        r#"{"sessionId":1}"#,
        "sessionId=1",
        "sessionId=another",
        "",
        "{}",
        "{",
        "hello",
        "\0",
        r#"{"sessionId":[]}"#,
        &large,
    ] {
        assert_eq!(without_date(&endpoint.post(body).await), expected, "{body:.20}");
    }
    assert_eq!(endpoint.hints_before("mark").await, ["1", "another"]);
}

#[tokio::test]
async fn json_and_forms_are_read_whatever_the_content_type_says() {
    let mut endpoint = Endpoint::open().await;
    let mut number = 0;
    for content_type in [
        "",
        "content-type: application/json\r\n",
        "content-type: application/x-www-form-urlencoded\r\n",
        "content-type: text/plain; charset=utf-16\r\n",
        "content-type: /\r\ncontent-type: a/b\r\n",
    ] {
        for form in [
            "sessionId={}&status=active",
            "status=active&session%5BsessionId%5D={}",
            "a=b&sessionStartToken={}",
            r#"{"sessionId":{}}"#,
            r#"{"status":"active","sessionId":"{}"}"#,
            r#"{"session":{"sessionId":{}}}"#,
            r#"{"session":{"customerName":"é","token":"{}"}}"#,
            r#"{"sessionToken":"{}"}"#,
        ] {
            number += 1;
            let body = form.replace("{}", &number.to_string());
            let request = post(SECRET, content_type, body.as_bytes());
            assert_eq!(code(&exchange(endpoint.address, &request).await), 204, "{body}");
            assert_eq!(endpoint.hint().await, number.to_string(), "{content_type}{body}");
        }
    }
}

#[tokio::test]
async fn an_id_keeps_its_digits_and_each_of_several_names_is_a_hint() {
    let mut endpoint = Endpoint::open().await;
    let expected = [
        (r#"{"sessionId":9999982253621659654123}"#, &["9999982253621659654123"][..]),
        (r#"{"sessionId":-0012}"#, &[]),
        (r#"{"sessionId":"-0012"}"#, &["-0012"]),
        (r#"{"sessionStartToken":"tok","sessionId":77}"#, &["tok", "77"]),
        ("sessionId=SS-1&sessionId=SS-2&sessionId=SS-1", &["SS-1", "SS-2"]),
        ("token=a%2Bb+c", &["a+b c"]),
    ];
    for (number, (body, hints)) in expected.into_iter().enumerate() {
        endpoint.post(body).await;
        assert_eq!(endpoint.hints_before(&format!("mark{number}")).await, hints, "{body}");
    }
}

#[tokio::test]
async fn a_wrong_secret_and_any_other_path_are_the_same_empty_404_for_every_method() {
    let mut endpoint = Endpoint::open().await;
    let expected = "HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    for path in [
        PATH.to_owned(),
        PATH.trim_end_matches('/').to_owned(),
        format!("{PATH}wrong-and-long-enough"),
        format!("{PATH}{}", &SECRET[1..]),
        format!("{PATH}{SECRET}x"),
        format!("{PATH}{SECRET}/"),
        format!("{PATH}/{SECRET}"),
        format!("{PATH}{SECRET}%2F"),
        format!("{PATH}x/../{SECRET}"),
        format!("{PATH}{SECRET}%0A"),
        format!("{PATH}%"),
        format!("{PATH}?{SECRET}"),
        format!("/CALLBACKS/session-status/{SECRET}"),
        format!("/x{PATH}{SECRET}"),
        format!("/{SECRET}"),
        "/".to_owned(),
        "/metrics".to_owned(),
    ] {
        for method in ["POST", "GET", "PUT", "BREW"] {
            let request = format!(
                "{method} {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 11\r\n\r\nsessionId=1"
            );
            let answer = exchange(endpoint.address, request.as_bytes()).await;
            assert_eq!(without_date(&answer), expected, "{method} {path}");
        }
    }
    assert_eq!(endpoint.hints_before("mark").await, [""; 0]);
}

#[tokio::test]
async fn another_method_is_a_405_after_the_right_secret_only() {
    let endpoint = Endpoint::open().await;
    for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "BREW"] {
        for (secret, expected) in [(SECRET, 405), (OLDER, 405), ("wrong-and-long-enough", 404)] {
            let request = format!("{method} {PATH}{secret} HTTP/1.1\r\nhost: a\r\n\r\n");
            let answer = exchange(endpoint.address, request.as_bytes()).await;
            assert_eq!(code(&answer), expected, "{method} {secret}");
            assert_eq!(answer.contains("allow: POST\r\n"), expected == 405, "{answer}");
            assert!(answer.ends_with("\r\n\r\n"), "{answer}");
        }
    }
}

#[tokio::test]
async fn every_secret_of_the_file_is_valid_in_any_spelling_of_the_url_and_a_query_is_no_part_of_it()
{
    let mut endpoint = Endpoint::open().await;
    let spelled = SECRET.replace('-', "%2D");
    let with_query = format!("{SECRET}?a=b&sessionId=no");
    for (number, secret) in [SECRET, OLDER, &spelled, &with_query].into_iter().enumerate() {
        let body = format!("sessionId={number}");
        let answer = exchange(endpoint.address, &post(secret, "", body.as_bytes())).await;
        assert_eq!(code(&answer), 204, "{secret}");
        assert_eq!(endpoint.hint().await, number.to_string());
    }
}

/// The time of a comparison cannot be measured in a test, so this one reads the source.
#[test]
fn the_secret_is_compared_in_constant_time() {
    let source = fs::read_to_string(root().join("src/callback/secrets.rs")).unwrap();
    let (_, rest) = source.split_once("fn check(").unwrap();
    let (check, _) = rest.split_once("\n    }\n").unwrap();
    assert!(check.contains("known.ct_eq(&given)") && check.contains(".fold("), "{check}");
    for shortcut in
        ["==", "!=", ".any(", ".all(", ".find(", ".position(", ".contains(", "starts_with"]
    {
        assert!(!check.contains(shortcut), "{shortcut} ends a comparison early: {check}");
    }
}

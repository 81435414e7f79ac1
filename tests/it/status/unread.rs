//! Calls that no handler sees: unknown methods, invalid messages, headers that are too large or not
//! gRPC, and unknown callers.

use prost::Message as _;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{DOMAIN, GetSessionRequest, METHODS, SESSION, refusal, start, with_grant};
use crate::kit::{folder::Folder, peer::trailers_only};

const SERVICE: &str = "gotoassist.remotesupport.v1.RemoteSupportService";

/// A message in its frame, compressed or not.
fn framed(is_compressed: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[is_compressed], &length[..], message].concat()
}

#[tokio::test]
async fn whatever_is_refused_before_a_handler_has_a_reason_too() {
    let harness = start(&[]).await;
    let peer = harness.peer().await;
    let message = framed(0, &GetSessionRequest { session_id: SESSION.into() }.encode_to_vec());
    let header = ("authorization", "Bearer MARK");
    let malformed = (Code::Internal, "MESSAGE_MALFORMED");
    let unknown = (Code::Unimplemented, "METHOD_UNKNOWN");
    let packed = (Code::Unimplemented, "ENCODING_UNSUPPORTED");
    let mut rows = vec![
        (format!("{SERVICE}/MARK"), message.clone(), header, unknown),
        ("other.Service/GetSession".to_owned(), message.clone(), header, unknown),
        ("MARK".to_owned(), message.clone(), header, unknown),
    ];
    for method in METHODS {
        let path = format!("{SERVICE}/{method}");
        let encoded = |name| ("grpc-encoding", name);
        rows.extend([
            // The field is longer than the message.
            (path.clone(), framed(0, b"\x0a\x7fMARK"), header, malformed),
            // The text is not UTF-8.
            (path.clone(), framed(0, b"\x0a\x02\xff\xff"), header, malformed),
            // Half of a frame, and no frame.
            (path.clone(), message[..7].to_vec(), header, malformed),
            (path.clone(), Vec::new(), header, malformed),
            // The message is marked as compressed, without an encoding.
            (path.clone(), framed(1, b"MARK"), header, malformed),
            (path.clone(), framed(1, b"MARK"), encoded("MARK"), packed),
            (path.clone(), framed(1, b"MARK"), encoded("gzip"), packed),
            (
                path.clone(),
                framed(0, &b"x".repeat(65 * 1024)),
                header,
                (Code::ResourceExhausted, "MESSAGE_TOO_LARGE"),
            ),
        ]);
    }
    for (path, frame, header, expected) in rows {
        let context = format!("{path} {header:?} {:?}", &frame[..frame.len().min(9)]);
        let response = peer.post(&path, frame, &[header]).await;
        let status = trailers_only(&response);
        let info = status.get_details_error_info();
        let info = info.unwrap_or_else(|| panic!("no details: {context}: {status:?}"));
        assert_eq!((status.code(), info.reason.as_str()), expected, "{context}");
        assert_eq!(info.domain, DOMAIN, "{context}");
        assert!(!format!("{:?}", response.headers()).contains("MARK"), "{response:?}");
        let names_encodings = response.headers().contains_key("grpc-accept-encoding");
        assert_eq!(names_encodings, expected == packed, "{context}");
    }
    assert_eq!(harness.vendor.counters().requests, 0);
}

#[tokio::test]
async fn a_client_that_does_not_speak_grpc_gets_415() {
    let harness = start(&[]).await;
    let peer = harness.peer().await;
    let post = async |path: &str, content_type: Option<&str>| {
        let mut request = http::Request::post(format!("http://localhost/{path}"));
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        peer.send(request, b"{}".to_vec()).await
    };
    for method in METHODS {
        let path = format!("gotoassist.remotesupport.v1.RemoteSupportService/{method}");
        for content_type in [Some("application/json"), Some("application/grpc-web"), None] {
            let answer = post(&path, content_type).await;
            assert_eq!(answer.status(), 415, "{content_type:?}: {answer:?}");
            let status = Status::from_header_map(answer.headers()).unwrap();
            let reason = status.get_details_error_info().unwrap().reason;
            let expected = (Code::InvalidArgument, "CONTENT_TYPE_UNSUPPORTED");
            assert_eq!((status.code(), &*reason), expected);
        }
        let answer = post(&path, Some("application/grpc+proto; a=b")).await;
        assert_eq!(answer.status(), 200, "{answer:?}");
    }
    assert_eq!(harness.vendor.counters().requests, 0);
}

#[tokio::test]
async fn credentials_of_64_kilobytes_are_taken_and_larger_ones_refused_with_a_reason() {
    let harness = start(&[]).await;
    let peer = harness.peer().await;
    let get = async |length: usize, more: &[(&str, &str)]| {
        let authorization = format!("Bearer {}", "x".repeat(length));
        let headers = [&[("authorization", &*authorization)], more].concat();
        let message = GetSessionRequest { session_id: SESSION.into() };
        peer.call("GetSession", &message, &headers).await
    };
    for length in [20_000, 64_000, 65_536] {
        let answer = get(length, &[]).await;
        assert!(Status::from_header_map(answer.headers()).is_none(), "{length}: {answer:?}");
    }
    for (length, more) in [(70_000, ""), (40_000, &*"y".repeat(40_000)), (120_000, "")] {
        let status = trailers_only(&get(length, &[("x-more", more)]).await);
        let reason = status.get_details_error_info().unwrap().reason;
        assert_eq!((status.code(), &*reason), (Code::InvalidArgument, "HEADERS_TOO_LARGE"));
    }
    // Above that limit, the HTTP/2 layer refuses the request.
    assert_eq!(get(140_000, &[]).await.status(), 431);
    assert_eq!(harness.vendor.counters().requests, 3);
}

/// This is an error of this service, not of the vendor. So links to the vendor's pages would not
/// help.
#[tokio::test]
async fn a_caller_whom_this_service_does_not_know_is_told_apart() {
    let folder = Folder::new();
    let tokens = format!("--client-tokens-file={}", folder.write("tokens", ""));
    let harness =
        start(&[&with_grant("--refresh-token=good-grant")[..], &[&tokens]].concat()).await;
    let peer = harness.peer().await;
    for (headers, expected) in [
        (&[("authorization", "Bearer nobody")][..], "CALLER_NOT_AUTHENTICATED"),
        (&[], "CREDENTIAL_MISSING"),
    ] {
        for method in METHODS {
            let status = refusal(&peer, method, headers).await;
            let info = status.get_details_error_info().unwrap();
            assert_eq!((status.code(), &*info.reason), (Code::Unauthenticated, expected));
            assert!(status.get_details_help().is_none(), "{status:?}");
            let is_told = status.message().contains("ask its operator");
            assert_eq!(is_told, expected == "CALLER_NOT_AUTHENTICATED", "{status:?}");
        }
    }
    assert_eq!(harness.vendor.counters().requests, 0);
}

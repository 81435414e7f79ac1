//! What no handler ever sees: methods that are not there, and messages that are none.

use prost::Message as _;
use tonic::Code;
use tonic_types::StatusExt as _;

use super::{DOMAIN, GetSessionRequest, SESSION, start};
use crate::harness::trailers_only;

const METHODS: [&str; 3] = ["GetSession", "ListSystemLinks", "WatchSession"];
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
            // A field that ends behind the message.
            (path.clone(), framed(0, b"\x0a\x7fMARK"), header, malformed),
            // No UTF-8 where text should be.
            (path.clone(), framed(0, b"\x0a\x02\xff\xff"), header, malformed),
            // Half a frame, and none.
            (path.clone(), message[..7].to_vec(), header, malformed),
            (path.clone(), Vec::new(), header, malformed),
            // Said to be compressed, but not how.
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

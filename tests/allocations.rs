//! Counts the allocations of each step of a call and of an event. A regression shows here first,
//! and the counts are the same on every machine. `cargo bench` measures the time of the same steps.
//!
//! This test is a program of its own because it replaces the allocator.

#![cfg(feature = "command")]
#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test may panic")]

#[path = "../benches/steps/step.rs"]
mod step;

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    time::Duration,
};

use allocation_counter::measure;
use gotoassist_grpc::{
    callback::{Callbacks, Secrets},
    clock::Clock,
    config::UpstreamConfig,
    grpc::resume_token::ResumeTokenCodec,
    model::{
        History, ListQuery, ListWindow, ListedSession, Session, SessionId, session_page::StatusSet,
    },
    trace::Cause,
    traffic::{Client, RequestContext, quota::Class},
};
use jiff::{SignedDuration, Timestamp};
use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;

#[test]
fn each_step_makes_the_expected_number_of_allocations() {
    let session = || step::decode(step::BODY);
    let other = Session { notes: Some("other".to_owned()), ..session() };
    let (one, message) = (session(), step::map(session()));
    let mut history = History::starting_with(&one);
    let (codec, id) =
        (ResumeTokenCodec::new(Some("key")), "250040353".parse::<SessionId>().unwrap());
    let known = step::known(&one);
    let (quota, credential) = (step::quota(), step::credential("Bearer a"));
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let mut given = Some(session());
    // Decoding allocates once for each text field. No other step does.
    let texts = 15;

    let mut complaints = Vec::new();
    let mut hold = |step: &str, limit: u64, run: &mut dyn FnMut()| {
        // The first run makes what is created lazily.
        run();
        let count = measure(run).count_total;
        if count != limit {
            complaints.push(format!("{step}: {count} allocations, not {limit}"));
        }
    };
    // The members of the object and the unknown fields take three more allocations.
    hold("decode", texts + 3, &mut || drop(session()));
    hold("encode", 1, &mut || drop(step::encode(&message)));
    hold("digest", 0, &mut || {
        step::digest(&one);
    });
    hold("diff", 1, &mut || drop(step::diff(&one, &other)));
    hold("observe", 0, &mut || step::observe(&mut history, &one));
    hold("resume token", 3, &mut || drop(step::resume_token(&codec, &id, &known)));
    hold("credential", 2, &mut || drop(step::credential("Bearer abc")));
    hold("admit", 0, &mut || runtime.block_on(step::admit(&quota, &credential)));
    let map = measure(|| drop(given.take().map(step::map))).count_total;
    assert_eq!(map, 0, "map");
    assert!(complaints.is_empty(), "{complaints:#?}");
}

/// The size of the list below: about 45,000 sessions with all fields that a list has.
const LIST_LENGTH: usize = 30 * 1024 * 1024;

#[test]
fn a_list_of_thirty_megabytes_costs_little_memory_and_time() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let address = serve_list();
    let url = format!("http://{address}").parse().unwrap();
    let client = Client::new(&UpstreamConfig::at(url), None, Clock::system()).unwrap();
    let caller = step::credential("Bearer a");
    let hour = SignedDuration::from_hours(1);
    let window = ListWindow { from: Timestamp::UNIX_EPOCH, to: Timestamp::UNIX_EPOCH + hour };
    let sweep = || {
        let mut watched = 0;
        let keep = |listed: ListedSession| {
            watched += usize::from(listed.session.session_id.ends_with("00"));
        };
        let cause = Cause::default();
        let sweep = client.sweep_sessions(&caller, &window, Class::Unary, &cause, keep);
        let summary = runtime.block_on(sweep).expect("a list").content;
        assert!(summary.bytes >= LIST_LENGTH && summary.unreadable == 0, "{summary:?}");
        assert_eq!(watched, summary.sessions.div_ceil(100));
    };
    let page = || {
        let (from, to) = (Some(window.from), Some(window.to));
        let statuses = StatusSet::default();
        let query = ListQuery { from, to, statuses, page_size: 100, after: None };
        let page = client.list_sessions(&caller, &query, RequestContext::default());
        let page = runtime.block_on(page).expect("a page").content;
        assert!(page.sessions.len() == 100 && page.last.is_some(), "{}", page.sessions.len());
    };
    // The first run makes what is created lazily, such as the connection.
    sweep();
    costs_little("the sweep", sweep);
    costs_little("a page for a caller", page);
}

fn costs_little(what: &str, read_list: impl FnOnce()) {
    let began_at = processor_time();
    let peak = measure(read_list).bytes_max;
    let took = processor_time().saturating_sub(began_at);
    println!("{what}: {peak} bytes, {took:?}");
    assert!(peak <= 4 * 1024 * 1024, "{what}: {peak} bytes");
    // A debug build is many times as slow.
    if !cfg!(debug_assertions) {
        assert!(took <= Duration::from_millis(600), "{what}: {took:?}");
    }
}

/// A vendor on a thread of its own, whose allocations are not measured.
fn serve_list() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let body = list();
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        while let Ok(1..) = stream.read(&mut request) {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(body.as_bytes()).unwrap();
        }
    });
    address
}

fn list() -> String {
    let mut sessions = String::with_capacity(LIST_LENGTH + 1024);
    for number in 250_040_300.. {
        let session = format!(
            r#"{{"sessionStartToken":{number}77,"customerJoinUrl":"https://www.fastsupport.com/?Portal=1&Token={number}77","sessionId":{number},"sessionType":"screen_sharing","partnerObject":"{number}","partnerObjectUrl":"https://example.com/tickets/{number}","status":"complete","startedAt":"2021-04-30T06:00:00Z","customerJoinedAt":"2021-04-30T06:02:00Z","endedAt":"2021-04-30T06:31:07Z","expertName":"Ann Example","expertEmail":"ann@example.com","expertUserKey":"9999982253621659654","customerName":"Bob \"Bobby\" Example","customerEmail":"bob@example.com","accountKey":1842200297248054807,"sessionRecordingUrl":"https://example.com/recordings/{number}"}}"#
        );
        sessions.push_str(&session);
        if sessions.len() >= LIST_LENGTH {
            break;
        }
        sessions.push(',');
    }
    format!(r#"{{"totalNumSessions":0,"sessions":[{sessions}]}}"#)
}

/// The longest body of a callback.
const BODY_LENGTH: usize = 64 * 1024;

#[test]
fn a_callback_of_the_greatest_length_costs_little_memory() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("callback-secrets");
    std::fs::write(&file, SECRET).unwrap();
    let callbacks = Callbacks::new(Secrets::open(&file).unwrap(), |_| {});
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let stop_at_end = stop.clone().drop_guard();
    let sender = std::thread::spawn(move || {
        // Each text is repeated up to the greatest length.
        for text in [
            "\u{fffd}",
            "{",
            "[[]],",
            "a=%ff&",
            "sessionId=1&",
            r#"{"sessionId":1},"#,
            r#"{"\u0053":[""#,
            "payload={&",
            "%7B%22token%22%3A",
        ] {
            let body = &text.repeat(BODY_LENGTH / text.len() + 1).into_bytes()[..BODY_LENGTH];
            let invalid = vec![0xff; BODY_LENGTH];
            for body in [body, &invalid] {
                assert!(post(address, body).starts_with("HTTP/1.1 204"), "{text}");
            }
        }
        drop(stop_at_end);
    });
    let peak = measure(|| {
        runtime.block_on(async {
            callbacks.serve(tokio::net::TcpListener::from_std(listener).unwrap(), stop).await;
        });
    });
    sender.join().unwrap();
    println!("callbacks: {} bytes", peak.bytes_max);
    assert!(peak.bytes_max <= 1024 * 1024, "{} bytes", peak.bytes_max);
}

const SECRET: &str = "the-secret-of-this-test";

fn post(address: SocketAddr, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let path = format!("/callbacks/session-status/{SECRET}");
    let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The time that this thread has spent on a processor.
fn processor_time() -> Duration {
    let schedule = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(schedule.split(' ').next().unwrap().parse().unwrap())
}

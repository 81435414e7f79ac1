//! One row of the error table: the vendor's answer, and everything that the caller must receive.

use gotoassist_grpc::{config::simulate::ErrorBody, simulator::Fault};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{DOMAIN, SESSION};

/// A marker in the vendor's texts. The service's errors must not have it.
pub const UPSTREAM_TEXT: &str = "Simulated";

/// The vendor's answer, and the caller's error.
pub struct Row {
    pub fault: Fault,
    pub code: Code,
    pub reason: &'static str,
    pub http_status: Option<u16>,
    pub remedy: Remedy,
}

/// The details of an error besides `ErrorInfo`.
#[derive(Clone, Copy, PartialEq)]
pub enum Remedy {
    None,
    /// `RetryInfo`, in seconds.
    Retry(u64),
    /// `RetryInfo` with `QuotaFailure`, and the delay for gRPC's own retries.
    PushedBack(u64),
    /// `ResourceInfo`, if the call is about a session. Otherwise the reason names the missing
    /// resource.
    Resource,
    Help,
}

impl Row {
    /// Checks `status` against the row.
    pub fn hold(&self, status: &Status, method: &str) {
        let is_about_session = !matches!(method, "ListSessions" | "ListSystemLinks");
        let case = format!("{:?}: {status:?}", self.fault);
        assert_eq!(status.code(), self.code, "{case}");
        let info = status.get_details_error_info().expect(&case);
        let reason = match self.reason {
            "SESSION_NOT_FOUND" if method == "ListSessions" => "SESSION_LIST_NOT_FOUND",
            "SESSION_NOT_FOUND" if method == "ListSystemLinks" => "SYSTEM_LINKS_NOT_FOUND",
            reason => reason,
        };
        assert_eq!(info.reason, reason, "{case}");
        assert_eq!(info.domain, DOMAIN, "{case}");
        let told = |name: &str| info.metadata.get(name).map(String::as_str);
        let http_status = self.http_status.map(|status| status.to_string());
        assert_eq!(told("http_status"), http_status.as_deref(), "{case}");
        if let Fault::Status { code, body, .. } = &self.fault {
            let has_code = !matches!(body, ErrorBody::Html | ErrorBody::Empty);
            assert_eq!(told("upstream_code"), code.as_deref().filter(|_| has_code), "{case}");
            assert!(told("upstream_request_id").is_some_and(|id| id.len() == 36), "{case}");
        }

        let (retry, is_pushed_back) = match self.remedy {
            Remedy::Retry(seconds) => (Some(seconds), false),
            Remedy::PushedBack(seconds) => (Some(seconds), true),
            Remedy::None | Remedy::Resource | Remedy::Help => (None, false),
        };
        assert_eq!(retry_seconds(status), retry, "{case}");
        let pushback = is_pushed_back.then_some(retry).flatten().map(|delay| delay * 1000);
        assert_eq!(pushback_milliseconds(status), pushback, "{case}");
        let quota = status.get_details_quota_failure();
        assert_eq!(quota.is_some_and(|quota| !quota.violations.is_empty()), is_pushed_back);
        let help = status.get_details_help();
        let is_helped = self.remedy == Remedy::Help;
        assert_eq!(help.is_some_and(|help| help.links[0].url.starts_with("https")), is_helped);
        let name = status.get_details_resource_info().map(|resource| resource.resource_name);
        let is_named = is_about_session && self.remedy == Remedy::Resource;
        assert_eq!(name.as_deref(), is_named.then_some(SESSION), "{case}");
        assert!(status.get_details_bad_request().is_none(), "{case}");
        says_nothing_of_the_vendors(status);
    }
}

fn retry_seconds(status: &Status) -> Option<u64> {
    status.get_details_retry_info()?.retry_delay.map(|delay| delay.as_secs())
}

/// The delay for gRPC's own retries.
pub fn pushback_milliseconds(status: &Status) -> Option<u64> {
    let pushback = status.metadata().get("grpc-retry-pushback-ms")?;
    Some(pushback.to_str().unwrap().parse().unwrap())
}

/// The message is one short sentence of the service, and has no text of the vendor.
pub fn says_nothing_of_the_vendors(status: &Status) {
    let message = status.message();
    assert!(!message.is_empty() && message.len() < 100 && !message.contains('\n'), "{message}");
    let everything = String::from_utf8_lossy(status.details()) + message;
    for text in [UPSTREAM_TEXT, "<html", "proxy", "incident"] {
        assert!(!everything.contains(text), "{text}: {status:?}");
    }
    assert!(!message.contains("VendorCode"), "{message}");
}

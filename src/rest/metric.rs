//! The names of the south face's metrics; `admin/metrics.rs` gives their meaning.

pub(super) const REQUEST_DURATION: &str = "http_client_request_duration_seconds";
pub(super) const RETRIES: &str = "gotoassist_retries_total";
pub(super) const FINISHED_CACHE_HITS: &str = "gotoassist_finished_cache_hits_total";
pub(super) const SINGLE_FLIGHT_JOINS: &str = "gotoassist_single_flight_joins_total";
pub(super) const BREAKER_REFUSALS: &str = "gotoassist_breaker_refusals_total";
pub(super) const BREAKER_OPEN: &str = "gotoassist_breaker_open_circuits";
pub(super) const UNKNOWN_FIELDS: &str = "gotoassist_unknown_fields_total";

//! The deadline of a call, from its `grpc-timeout` header.

use std::{str, time::Duration};

use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;
use tonic::Status;

use super::status;

const HEADER: &str = "grpc-timeout";

/// The time at which the caller stops waiting. Every request with a timeout has it in its
/// extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(pub Instant);

impl Deadline {
    /// Reads the timeout, counted from now. Returns `None` if there is no timeout or if its end
    /// cannot be represented. A malformed timeout is an error, because the caller did not mean "no
    /// timeout". (The gRPC HTTP/2 specification does not say what to do. grpc-go refuses such a
    /// call too; C-core and tonic ignore the header.)
    pub fn read(headers: &HeaderMap) -> Result<Option<Self>, Status> {
        let Some(value) = headers.get(HEADER) else { return Ok(None) };
        let timeout = parse(value).ok_or_else(malformed)?;
        Ok(Instant::now().checked_add(timeout).map(Self))
    }

    /// Returns the time that is left, or zero if the deadline has passed.
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

fn malformed() -> Status {
    status::invalid(HEADER, "must be 1 to 8 digits and one of H, M, S, m, u, n")
}

/// Parses `TimeoutValue` and `TimeoutUnit` of the gRPC HTTP/2 specification.
fn parse(value: &HeaderValue) -> Option<Duration> {
    let (unit, digits) = value.as_bytes().split_last()?;
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let amount = str::from_utf8(digits).ok()?.parse().ok()?;
    match unit {
        b'H' => Some(Duration::from_hours(amount)),
        b'M' => Some(Duration::from_mins(amount)),
        b'S' => Some(Duration::from_secs(amount)),
        b'm' => Some(Duration::from_millis(amount)),
        b'u' => Some(Duration::from_micros(amount)),
        b'n' => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    fn read(value: &str) -> Result<Option<Duration>, Code> {
        let headers = HeaderMap::from_iter([(
            http::header::HeaderName::from_static(HEADER),
            HeaderValue::from_str(value).unwrap(),
        )]);
        let deadline = Deadline::read(&headers).map_err(|status| status.code())?;
        Ok(deadline.map(Deadline::remaining))
    }

    #[tokio::test(start_paused = true)]
    async fn every_unit_is_parsed() {
        assert_eq!(read("2H"), Ok(Some(Duration::from_hours(2))));
        assert_eq!(read("3M"), Ok(Some(Duration::from_mins(3))));
        assert_eq!(read("5S"), Ok(Some(Duration::from_secs(5))));
        assert_eq!(read("7m"), Ok(Some(Duration::from_millis(7))));
        assert_eq!(read("11u"), Ok(Some(Duration::from_micros(11))));
        assert_eq!(read("0n"), Ok(Some(Duration::ZERO)));
        assert_eq!(Deadline::read(&HeaderMap::new()).unwrap(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_timeout_is_accepted() {
        assert_eq!(read("99999999H"), Ok(Some(Duration::from_hours(99_999_999))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_malformed_timeout_is_refused() {
        for value in ["", "S", "1", "1s", "-1S", "+1S", "1.5S", "123456789m", "1 S"] {
            assert_eq!(read(value), Err(Code::InvalidArgument), "{value}");
        }
    }
}

//! Times in any form of ISO 8601.

use jiff::{Timestamp, civil, tz::Offset};

/// A time in any of the forms of ISO 8601 that say one: with or without seconds, fraction, `T`,
/// separators; offset as `Z`, `+hh:mm`, `+hhmm`, `+hh`, or none, which means UTC.
pub(super) fn timestamp(text: &str) -> Option<Timestamp> {
    /// 0001-01-01T00:00:00Z, where `google.protobuf.Timestamp` begins.
    const FIRST_SECOND: i64 = -62_135_596_800;
    let text = text.trim();
    text.parse::<Timestamp>()
        .or_else(|_| {
            text.parse::<civil::DateTime>().and_then(|time| Offset::UTC.to_timestamp(time))
        })
        .ok()
        .filter(|time| time.as_second() >= FIRST_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_time_is_the_same_time() {
        let expected: Timestamp = "2021-04-30T06:00:00Z".parse().unwrap();
        for text in [
            "2021-04-30T06:00:00Z",
            "2021-04-30t06:00:00z",
            "2021-04-30T06:00:00.000Z",
            "2021-04-30T06:00:00,000Z",
            "2021-04-30T06:00:00+00:00",
            "2021-04-30T06:00:00+0000",
            "2021-04-30T06:00:00+00",
            "2021-04-30T06:00:00-00:00",
            "2021-04-30T08:00:00+02:00",
            "2021-04-30T00:30:00-0530",
            "2021-04-30T06:00:00",
            "2021-04-30 06:00:00",
            "2021-04-30 06:00:00+00:00",
            "2021-04-30T06:00Z",
            "2021-04-30T06:00",
            "20210430T060000Z",
            " 2021-04-30T06:00:00Z ",
        ] {
            assert_eq!(timestamp(text), Some(expected), "{text}");
        }
        let fraction = timestamp("2021-04-30T06:00:00.123456789+00:00").unwrap();
        assert_eq!(fraction.subsec_nanosecond(), 123_456_789);
    }

    #[test]
    fn what_is_no_time_or_none_that_protobuf_can_hold_is_not_read() {
        for text in ["", "yesterday", "1619762400", "30.04.2021 06:00", "2021-13-01T00:00:00Z"] {
            assert_eq!(timestamp(text), None, "{text}");
        }
        assert_eq!(timestamp("-000001-01-01T00:00:00Z"), None);
        assert!(timestamp("0001-01-01T00:00:00Z").is_some());
    }
}

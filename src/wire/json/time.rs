//! Times in any form of ISO 8601, and as numbers since 1970.

use std::borrow::Cow;

use jiff::{SignedDuration, civil, fmt::temporal::Pieces, tz::Offset};

use crate::model::UtcTime;

/// How many digits of a fraction of a second are read. Further digits are finer than a nanosecond.
const FRACTION_DIGITS: usize = 9;

/// Numbers of at least this size count milliseconds. As seconds they would be after the year 5138.
const MILLISECONDS_FROM: i128 = 100_000_000_000;
/// Smaller numbers are not times. As seconds they would be before March 1973.
const SECONDS_FROM: i128 = 100_000_000;

/// Reads a time in any form of ISO 8601 that names one: with or without seconds, fraction, `T` and
/// separators. The offset is `Z`, `+hh:mm`, `+hhmm` or `+hh`; without one the time is UTC. Also reads
/// the numbers that [`since_1970`] reads.
pub(super) fn timestamp(text: &str) -> Option<UtcTime> {
    const EPOCH: civil::DateTime = civil::date(1970, 1, 1).at(0, 0, 0, 0);
    let text = text.trim();
    if let Some(time) = since_1970(text) {
        return Some(time);
    }
    let text = plain(text);
    let pieces = Pieces::parse(&*text).ok()?;
    let local = pieces.date().to_datetime(pieces.time().unwrap_or_default());
    let offset = pieces.to_numeric_offset().map_or(0, Offset::seconds);
    let since_1970 = local.duration_since(EPOCH) - SignedDuration::from_secs(offset.into());
    UtcTime::from_nanoseconds(since_1970.as_nanos())
}

/// Reads a number of seconds or milliseconds since 1970. The size of the number decides which it
/// is. A fraction is cut to nanoseconds.
pub(super) fn since_1970(digits: &str) -> Option<UtcTime> {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let whole: i128 = whole.parse().ok()?;
    let unit_digits = match whole {
        MILLISECONDS_FROM.. => 6,
        SECONDS_FROM.. => FRACTION_DIGITS,
        _ => return None,
    };
    let fraction = fraction.get(..unit_digits).unwrap_or(fraction);
    let fraction: i128 = format!("{fraction:0<unit_digits$}").parse().ok()?;
    let unit = 10_i128.pow(u32::try_from(unit_digits).ok()?);
    UtcTime::from_nanoseconds(whole.checked_mul(unit)?.checked_add(fraction)?)
}

/// Removes the space before an offset, and the digits of a fraction that are too many.
fn plain(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    if let Some(point) = text.find(['.', ',']) {
        let fraction = &text[point + 1..];
        let length = fraction.bytes().take_while(u8::is_ascii_digit).count();
        if length > FRACTION_DIGITS {
            text.to_mut().replace_range(point + 1 + FRACTION_DIGITS..=point + length, "");
        }
    }
    if let Some(space) = text.rfind(' ')
        && text[space + 1..].starts_with(['+', '-', 'Z', 'z'])
    {
        text.to_mut().remove(space);
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn time(text: &str) -> UtcTime {
        text.parse::<jiff::Timestamp>().unwrap().into()
    }

    #[test]
    fn every_form_of_a_time_is_the_same_time() {
        let expected = time("2021-04-30T06:00:00Z");
        let forms = "\
            2021-04-30T06:00:00Z|2021-04-30t06:00:00z|2021-04-30T06:00:00.000Z|\
            2021-04-30T06:00:00,000Z|2021-04-30T06:00:00+00:00|2021-04-30T06:00:00+0000|\
            2021-04-30T06:00:00 +0000|2021-04-30T06:00:00 Z|2021-04-30T06:00:00+00|\
            2021-04-30T06:00:00-00:00|2021-04-30T08:00:00+02:00|2021-04-30 08:00:00 +02:00|\
            2021-04-30T00:30:00-0530|2021-04-30T06:00:00|2021-04-30 06:00:00|\
            2021-04-30 06:00:00+00:00|2021-04-30T06:00Z|2021-04-30T06:00|\
            20210430T060000Z| 2021-04-30T06:00:00Z |1619762400|1619762400.0|1619762400000";
        for text in forms.split('|') {
            assert_eq!(timestamp(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn a_fraction_is_cut_to_nanoseconds() {
        let expected = time("2021-04-30T06:00:00.123456789Z");
        let forms = "2021-04-30T06:00:00.123456789+00:00|\
            2021-04-30T06:00:00.123456789012Z|\
            2021-04-30T06:00:00,123456789999 +0000|\
            1619762400.123456789012|\
            1619762400123.4567899";
        for text in forms.split('|') {
            assert_eq!(timestamp(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn every_time_that_protobuf_can_hold_is_read() {
        for (text, seconds) in [
            ("0001-01-01T00:00:00Z", -62_135_596_800),
            ("9999-12-31T23:59:59Z", 253_402_300_799),
            ("9999-12-31T23:59:59+01:00", 253_402_297_199),
        ] {
            let time = timestamp(text).unwrap();
            assert_eq!(time.nanoseconds().div_euclid(1_000_000_000), seconds, "{text}");
        }
        for text in ["-000001-01-01T00:00:00Z", "9999-12-31T23:59:59-01:00"] {
            assert_eq!(timestamp(text), None, "{text}");
        }
    }

    #[test]
    fn text_that_is_not_a_time_is_not_read() {
        let forms = "| |.|yesterday|30.04.2021 06:00|2021-13-01T00:00:00Z|7|\
            99999999|-1619762400|1e12|1619762400.|99999999999999999999999999999999999999999";
        for text in forms.split('|') {
            assert_eq!(timestamp(text), None, "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn any_text_is_a_time_or_none(text in "[0-9TZ:.,+ -]{0,40}|.{0,40}") {
            let _ = timestamp(&text);
        }
    }
}

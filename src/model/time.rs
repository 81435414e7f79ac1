//! A point in time as the vendor gives it.

use jiff::Timestamp;

/// A point in time, to the nanosecond, from the year 1 to the end of the year 9999.
///
/// This is the range of `google.protobuf.Timestamp`. [`jiff::Timestamp`] ends a day earlier, but some
/// programs write `9999-12-31T23:59:59Z` for "never".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UtcTime {
    nanoseconds: i128,
}

impl UtcTime {
    /// 0001-01-01T00:00:00Z.
    const MIN: i128 = -62_135_596_800 * NANOSECONDS;
    /// 9999-12-31T23:59:59.999999999Z.
    const MAX: i128 = 253_402_300_800 * NANOSECONDS - 1;

    /// The time that many nanoseconds after the beginning of 1970, if it is in range.
    pub fn from_nanoseconds(nanoseconds: i128) -> Option<Self> {
        (Self::MIN..=Self::MAX).contains(&nanoseconds).then_some(Self { nanoseconds })
    }

    /// The nanoseconds since the beginning of 1970.
    pub fn nanoseconds(self) -> i128 {
        self.nanoseconds
    }

    /// The same time for arithmetic with clocks. The last day of the year 9999 becomes the latest time
    /// of jiff.
    pub fn to_timestamp(self) -> Timestamp {
        Timestamp::from_nanosecond(self.nanoseconds).unwrap_or(Timestamp::MAX)
    }
}

impl From<Timestamp> for UtcTime {
    fn from(time: Timestamp) -> Self {
        Self { nanoseconds: time.as_nanosecond().max(Self::MIN) }
    }
}

const NANOSECONDS: i128 = 1_000_000_000;

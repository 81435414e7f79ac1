//! The shape of the simulated vendor's bodies: every form that a client must handle.

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

/// The forms of the values in a body. If a form is not set, the value is as documented, or as the
/// session's script has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Shape {
    /// Form of accountKey and partnerObject [default: as scripted, or number].
    #[arg(long, value_name = "FORM")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys: Option<KeyForm>,

    /// Form of sessionId, where it is made of digits [default: string].
    #[arg(long, value_name = "FORM")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_ids: Option<KeyForm>,

    /// Form of a field that does not apply [default: omitted].
    #[arg(long, value_name = "FORM")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub absent: Option<AbsentForm>,

    /// Form of startedAt, customerJoinedAt and endedAt [default: zulu].
    #[arg(long, value_name = "FORM")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamps: Option<TimestampForm>,

    /// Send the times of a session in reverse order, so that the session ends before it starts
    /// [default: false].
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub falling_times: Option<bool>,

    /// Spelling of status [default: as scripted].
    #[arg(long, value_name = "FORM")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statuses: Option<StatusForm>,

    /// Send a different customerJoinUrl in every answer [default: false].
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_join_url: Option<bool>,

    /// Give sessions without scripted collaborators two of this form [default: none].
    #[arg(long, value_name = "FORM")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collaborators: Option<CollaboratorForm>,

    /// Add fields that no documentation names [default: false].
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown_fields: Option<bool>,

    /// Form of the answer of /systemLinks [default: array].
    #[arg(long, value_name = "FORM")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub links: Option<LinksForm>,

    /// Compress bodies with gzip for clients that accept it [default: false].
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compress: Option<bool>,

    /// Encode bodies in this form for clients that accept gzip, with or without --compress
    /// [default: gzip with --compress].
    #[arg(long, value_name = "FORM")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<EncodingForm>,
}

impl Shape {
    /// This shape, with the forms of `other` where this one has none.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            keys: self.keys.or(other.keys),
            session_ids: self.session_ids.or(other.session_ids),
            absent: self.absent.or(other.absent),
            timestamps: self.timestamps.or(other.timestamps),
            falling_times: self.falling_times.or(other.falling_times),
            statuses: self.statuses.or(other.statuses),
            new_join_url: self.new_join_url.or(other.new_join_url),
            collaborators: self.collaborators.or(other.collaborators),
            unknown_fields: self.unknown_fields.or(other.unknown_fields),
            links: self.links.or(other.links),
            compress: self.compress.or(other.compress),
            encoding: self.encoding.or(other.encoding),
        }
    }

    /// The encoding of bodies for clients that accept gzip.
    pub fn encoding(self) -> Option<EncodingForm> {
        self.encoding.or((self.compress == Some(true)).then_some(EncodingForm::Gzip))
    }
}

/// The form of a key or of another whole number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyForm {
    /// A JSON number, with all its digits.
    #[default]
    Number,
    /// A JSON string of the same digits.
    String,
}

/// Form of a field that does not apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AbsentForm {
    /// The field is missing, as documented.
    Omit,
    /// The field is null.
    Null,
}

/// The form of a timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimestampForm {
    /// `2021-04-30T06:00:00Z`, as documented.
    Zulu,
    /// `2021-04-30T06:00:00.123456Z`.
    Fraction,
    /// `2021-04-30T08:00:00+02:00`.
    Offset,
    /// `2021-04-30T06:00:00+0000`.
    BasicOffset,
    /// `20210430T060000Z`, the basic format of ISO 8601.
    Basic,
    /// `2021-04-30T06:00:00`, without a zone.
    Local,
    /// `2021-04-30T06:00:00.123456789012Z`.
    LongFraction,
    /// `2021-04-30T06:00:00 +0000`.
    SpacedOffset,
    /// `1619762400000`, a number: milliseconds since 1970.
    EpochMillis,
    /// `1619762400`, a number: seconds since 1970.
    EpochSeconds,
    /// `9999-12-31T23:59:59Z`, whatever the time is.
    FarFuture,
    /// `yesterday`.
    Unreadable,
}

/// The spelling of a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StatusForm {
    /// `NotStarted`, `Active`.
    Pascal,
    /// `NOT_STARTED`, `ACTIVE`.
    UpperSnake,
    /// `not-started`, `active`.
    Kebab,
    /// `not_started`, `active`.
    Snake,
    /// `NOTSTARTED`, `ACTIVE`.
    Upper,
    /// `notstarted`, `active`.
    Lower,
    /// `Not Started`, `Active`.
    Spaced,
}

/// How a body is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EncodingForm {
    /// `Content-Encoding: gzip`.
    Gzip,
    /// `Content-Encoding: GZIP`.
    UpperGzip,
    /// `Content-Encoding: x-gzip`.
    XGzip,
    /// Gzip of three members, one after another (RFC 1952 §2.2).
    GzipMembers,
    /// The body as it is, with `Content-Encoding: identity`.
    Identity,
}

/// The form of a collaborator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CollaboratorForm {
    /// A name.
    Strings,
    /// `{"name":…,"email":…,"userKey":…}`.
    Objects,
}

/// The form of the answer of `/systemLinks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinksForm {
    /// A bare array.
    Array,
    /// One bare object. Several links are still an array.
    Object,
    /// An object with the array in it.
    Wrapped,
}

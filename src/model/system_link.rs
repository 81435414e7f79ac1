//! A link to a partner system, and the domain it is asked for by.

use std::{fmt, str::FromStr};

use super::{Fields, InvalidArgument, check_argument};

/// A partner system's domain: opaque text, 1 to 512 bytes, no control characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SystemDomain(String);

impl SystemDomain {
    /// The whole text, for the call to the vendor.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SystemDomain {
    type Err = InvalidArgument;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        check_argument(text)?;
        Ok(Self(text.to_owned()))
    }
}

/// A registered link to a partner system; see `system_link.proto` for what each field holds.
///
/// `Debug` shows nothing: `user_token` is a live credential.
#[derive(Clone, Default, PartialEq)]
#[expect(missing_docs, reason = "each field is documented in system_link.proto")]
pub struct SystemLink {
    pub system_name: String,
    pub system_domain: String,
    pub user_email: String,
    pub user_token: String,
    pub callback_url: String,
    pub additional_fields: Fields,
}

impl fmt::Debug for SystemLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SystemLink").finish_non_exhaustive()
    }
}

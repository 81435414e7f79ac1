//! A link to a partner system, and the domain of such systems.

use std::{fmt, str::FromStr};

use super::{
    argument::{InvalidArgument, check_argument},
    value::Fields,
};

/// The domain of a partner system: opaque text of 1 to 512 bytes without control characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SystemDomain(String);

impl SystemDomain {
    /// The whole text, for the request to the vendor.
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

/// A registered link to a partner system. `system_link.proto` documents the fields.
///
/// `Debug` shows nothing, since `user_token` is a live credential.
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

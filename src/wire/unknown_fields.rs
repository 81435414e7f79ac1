//! Counts the fields that the vendor sends and the schema does not know, by name.

use std::collections::BTreeSet;

use metrics::{counter, describe_counter};
use parking_lot::Mutex;

use crate::model::Fields;

/// How many names have their own count, and how long such a name may be, in bytes. All other names
/// count as `other`. So an answer cannot make the metric grow without limit, and only text that
/// looks like a field name appears in it.
const MAX_NAMES: usize = 50;
const MAX_LENGTH: usize = 40;

const METRIC: &str = "gotoassist_unknown_fields_total";

/// Describes the metric. Does nothing before a recorder is installed.
pub(crate) fn describe() {
    describe_counter!(
        METRIC,
        "Fields in answers of GoToAssist that the schema does not know or cannot hold, by name"
    );
}

/// The names that have their own count so far.
#[derive(Default)]
pub(crate) struct UnknownFields(Mutex<BTreeSet<String>>);

impl UnknownFields {
    /// Counts each field.
    pub fn note(&self, fields: &Fields) {
        for name in fields.keys() {
            let name = if self.has_own_count(name) { name.clone() } else { "other".to_owned() };
            counter!(METRIC, "field" => name).increment(1);
        }
    }

    fn has_own_count(&self, name: &str) -> bool {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        // A name that begins with a digit is probably an id.
        let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic());
        if !is_name || name.len() > MAX_LENGTH || !name.bytes().all(is_plain) {
            return false;
        }
        let mut names = self.0.lock();
        names.contains(name) || (names.len() < MAX_NAMES && names.insert(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_fifty_plain_names_are_counted_by_themselves() {
        let unknown = UnknownFields::default();
        for number in 0..MAX_NAMES {
            assert!(unknown.has_own_count(&format!("field{number}")));
        }
        assert!(!unknown.has_own_count("oneMore"));
        assert!(unknown.has_own_count("field7"));
        for name in ["", "250040353", "name of a customer", "ключ", "a\"b", &"x".repeat(41)] {
            assert!(!UnknownFields::default().has_own_count(name), "{name}");
        }
    }
}

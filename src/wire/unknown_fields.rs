//! Counts the fields that the vendor sends and the schema does not know, by name.

use std::collections::BTreeSet;

use metrics::{counter, describe_counter};
use parking_lot::Mutex;

use crate::model::Fields;

/// Names that are told apart at most; and their longest, in bytes. All others are `other`: a
/// metric must not grow with what somebody else sends, nor carry what is no field name.
const NAME_LIMIT: usize = 50;
const LENGTH_LIMIT: usize = 40;

const METRIC: &str = "gotoassist_unknown_fields_total";

/// Gives the metric its help text. Does nothing before a recorder is installed.
pub(crate) fn describe() {
    describe_counter!(
        METRIC,
        "Fields in answers of GoToAssist that the schema does not know or cannot hold, by name"
    );
}

/// The names seen so far.
#[derive(Default)]
pub(crate) struct UnknownFields(Mutex<BTreeSet<String>>);

impl UnknownFields {
    /// Counts each field.
    pub fn note(&self, fields: &Fields) {
        for name in fields.keys() {
            let name = if self.is_told_apart(name) { name.clone() } else { "other".to_owned() };
            counter!(METRIC, "field" => name).increment(1);
        }
    }

    fn is_told_apart(&self, name: &str) -> bool {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        // Not an id: fields are named, ids are counted.
        let is_named = name.starts_with(|first: char| first.is_ascii_alphabetic());
        if !is_named || name.len() > LENGTH_LIMIT || !name.bytes().all(is_plain) {
            return false;
        }
        let mut names = self.0.lock();
        names.contains(name) || (names.len() < NAME_LIMIT && names.insert(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_fifty_plain_names_are_told_apart() {
        let unknown = UnknownFields::default();
        for number in 0..NAME_LIMIT {
            assert!(unknown.is_told_apart(&format!("field{number}")));
        }
        assert!(!unknown.is_told_apart("oneMore"));
        assert!(unknown.is_told_apart("field7"));
        for name in ["", "250040353", "name of a customer", "ключ", "a\"b", &"x".repeat(41)] {
            assert!(!UnknownFields::default().is_told_apart(name), "{name}");
        }
    }
}

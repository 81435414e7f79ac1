//! A value of a field that the schema does not name.

use std::collections::BTreeMap;

/// Fields by the vendor's name for them.
pub type Fields = BTreeMap<String, Value>;

/// Any value the vendor can send.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing, said explicitly.
    Null,
    /// True or false.
    Bool(bool),
    /// A number that a double holds exactly. Other numbers are kept as [`Value::Text`].
    Number(f64),
    /// A text.
    Text(String),
    /// Values in order.
    List(Vec<Value>),
    /// Values by name.
    Object(Fields),
}

//! Values of fields that the schema does not know.

use std::collections::BTreeMap;

/// Fields by the vendor's names.
pub type Fields = BTreeMap<String, Value>;

/// Any JSON value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Null.
    Null,
    /// True or false.
    Bool(bool),
    /// A number that a double holds exactly. Any other number is a [`Value::Text`].
    Number(f64),
    /// A text.
    Text(String),
    /// Values in order.
    List(Vec<Value>),
    /// Values by name.
    Object(Fields),
}

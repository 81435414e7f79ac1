//! Parses a JSON text that is an array, or an object with arrays in it, piece by piece as it arrives.
//! Holds one element at a time.
//!
//! The parser checks only the text between the values. It finds the end of each value by its
//! brackets and quotes. The receiver of a value must check that the value is JSON. If it is, and
//! the parser accepts the text, then the whole text is JSON.

use std::mem;

use serde::Deserialize as _;

use super::JsonString;
use crate::wire::invalid_body::InvalidBody;

/// The longest value that is passed on, in bytes. A longer one is skipped.
const VALUE_LIMIT: usize = 1024 * 1024;

/// A part of the text that is complete.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// A member of the outermost object that is not an array: its name, and its value. The value is
    /// `None` if it is too long.
    Member(&'a [u8], Option<&'a [u8]>),
    /// The beginning of an array: the text itself, or a member with this name.
    Array(Option<&'a [u8]>),
    /// The next element of the latest array. `None` if it is too long.
    Element(Option<&'a [u8]>),
}

/// See the module.
#[derive(Default)]
pub(crate) struct ListParser {
    place: Place,
    is_object: bool,
    /// The name of the member that comes next.
    name: Vec<u8>,
    /// The value that has begun.
    value: Option<Value>,
    /// The beginning of that value, if it was in an earlier piece.
    kept: Vec<u8>,
    is_too_long: bool,
}

/// What comes next.
#[derive(Clone, Copy, Default)]
enum Place {
    #[default]
    Text,
    FirstName,
    Name,
    Colon,
    Member,
    AfterMember,
    FirstElement,
    Element,
    AfterElement,
    End,
}

impl ListParser {
    /// Parses one more piece. Passes each part to `accept`.
    pub fn parse(
        &mut self,
        mut rest: &[u8],
        mut accept: impl FnMut(Part<'_>),
    ) -> Result<(), InvalidBody> {
        loop {
            if let Some(value) = &mut self.value {
                let Some(length) = value.length(rest) else {
                    self.keep(rest);
                    return Ok(());
                };
                let (end, after) = rest.split_at(length);
                rest = after;
                self.value = None;
                self.complete(end, &mut accept)?;
            }
            rest = rest.trim_ascii_start();
            let Some((&first, after)) = rest.split_first() else { return Ok(()) };
            if self.punctuation(first, &mut accept)? {
                rest = after;
            } else {
                self.value = Some(Value::beginning_with(first)?);
            }
        }
    }

    /// Checks that the text is complete.
    pub fn end(&self) -> Result<(), InvalidBody> {
        match self.place {
            Place::End => Ok(()),
            Place::Text => Err(InvalidBody::Empty),
            _ => Err(InvalidBody::NotJson),
        }
    }

    /// Handles a character that is not part of a value. Returns false if the character begins a
    /// value.
    fn punctuation(
        &mut self,
        character: u8,
        accept: &mut impl FnMut(Part<'_>),
    ) -> Result<bool, InvalidBody> {
        let after_array = if self.is_object { Place::AfterMember } else { Place::End };
        self.place = match (self.place, character) {
            // The bytes of a byte order mark (RFC 8259 §8.1).
            (Place::Text, 0xef | 0xbb | 0xbf) => Place::Text,
            (Place::Text, b'{') => {
                self.is_object = true;
                Place::FirstName
            }
            (Place::Text, b'[') => {
                accept(Part::Array(None));
                Place::FirstElement
            }
            (Place::Text, b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => {
                return Err(InvalidBody::WrongShape);
            }
            (Place::Colon, b':') => Place::Member,
            (Place::Member, b'[') => {
                accept(Part::Array(Some(&self.name)));
                Place::FirstElement
            }
            (Place::AfterMember, b',') => Place::Name,
            (Place::FirstName | Place::AfterMember, b'}') => Place::End,
            (Place::AfterElement, b',') => Place::Element,
            (Place::FirstElement | Place::AfterElement, b']') => after_array,
            (Place::FirstName | Place::Name, b'"')
            | (Place::Member | Place::FirstElement | Place::Element, _) => return Ok(false),
            _ => return Err(InvalidBody::NotJson),
        };
        Ok(true)
    }

    /// Keeps the part of the value that is in this piece.
    fn keep(&mut self, part: &[u8]) {
        self.is_too_long |= self.kept.len() + part.len() > VALUE_LIMIT;
        if self.is_too_long {
            self.kept.clear();
        } else {
            self.kept.extend_from_slice(part);
        }
    }

    /// Ends a value with the part of it that is in this piece.
    fn complete(
        &mut self,
        end: &[u8],
        accept: &mut impl FnMut(Part<'_>),
    ) -> Result<(), InvalidBody> {
        let is_in_one_piece = self.kept.is_empty() && !self.is_too_long;
        if !is_in_one_piece {
            self.keep(end);
        }
        let value = if is_in_one_piece { end } else { &self.kept };
        let is_too_long = mem::take(&mut self.is_too_long) || value.len() > VALUE_LIMIT;
        let value = (!is_too_long).then_some(value);
        self.place = match self.place {
            Place::Member => {
                accept(Part::Member(&self.name, value));
                Place::AfterMember
            }
            Place::FirstElement | Place::Element => {
                accept(Part::Element(value));
                Place::AfterElement
            }
            _ => {
                self.name = name(value.unwrap_or_default())?;
                Place::Colon
            }
        };
        self.kept.clear();
        Ok(())
    }
}

fn name(json: &[u8]) -> Result<Vec<u8>, InvalidBody> {
    let name = JsonString::deserialize(&mut serde_json::Deserializer::from_slice(json));
    name.map(|name| name.0.into_owned()).map_err(|_| InvalidBody::NotJson)
}

/// A value whose end has not come yet.
enum Value {
    /// A number, `true`, `false` or `null`. It ends before the next punctuation.
    Word,
    /// A string, array or object.
    Quoted {
        /// The open brackets.
        depth: usize,
        is_in_string: bool,
        is_escaped: bool,
    },
}

impl Value {
    fn beginning_with(first: u8) -> Result<Self, InvalidBody> {
        match first {
            b'"' | b'{' | b'[' => {
                Ok(Self::Quoted { depth: 0, is_in_string: false, is_escaped: false })
            }
            b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => Ok(Self::Word),
            _ => Err(InvalidBody::NotJson),
        }
    }

    /// The length of the part of the value that is in this piece. `None` if the value goes on in the
    /// next piece.
    fn length(&mut self, piece: &[u8]) -> Option<usize> {
        let Self::Quoted { depth, is_in_string, is_escaped } = self else {
            let is_end =
                |byte: &u8| matches!(byte, b',' | b']' | b'}') || byte.is_ascii_whitespace();
            return piece.iter().position(is_end);
        };
        let mut at = 0;
        loop {
            if *is_in_string {
                if *is_escaped {
                    piece.get(at)?;
                    *is_escaped = false;
                    at += 1;
                }
                at += 1 + memchr::memchr2(b'"', b'\\', piece.get(at..)?)?;
                *is_escaped = piece[at - 1] == b'\\';
                *is_in_string = *is_escaped;
            } else {
                at += 1;
                match piece.get(at - 1)? {
                    b'"' => *is_in_string = true,
                    b'{' | b'[' => *depth += 1,
                    b'}' | b']' => *depth = depth.saturating_sub(1),
                    _ => continue,
                }
            }
            if *depth == 0 && !*is_in_string {
                return Some(at);
            }
        }
    }
}

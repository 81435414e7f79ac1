//! The JSON of system links. The only place that knows the names of their fields.

use serde_json::value::RawValue;

use crate::{
    model::SystemLink,
    wire::{
        invalid_body::InvalidBody,
        json::{Object, body_text, elements},
    },
};

const NAMES: [&str; 6] =
    ["systemName", "systemDomain", "userEmail", "userToken", "callbackURL", "callbackUrl"];

/// Decodes the links of a domain. The vendor does not say whether they come as an array, so one bare
/// link and an object around the array are accepted too. An empty object is refused: it does not say
/// that there are no links.
pub(crate) fn decode(body: &[u8]) -> Result<Vec<SystemLink>, InvalidBody> {
    let json = body_text(body)?;
    if json.starts_with('[') {
        return links(json);
    }
    let object = Object::parse(json)?;
    match object.only_array() {
        _ if is_link(&object) => Ok(vec![link(object)]),
        Some(array) => links(array.get()),
        None => Err(InvalidBody::WrongShape),
    }
}

fn links(json: &str) -> Result<Vec<SystemLink>, InvalidBody> {
    let read = |json: &RawValue| {
        let object = Object::parse(json.get())?;
        if is_link(&object) { Ok(link(object)) } else { Err(InvalidBody::WrongShape) }
    };
    elements(json)?.into_iter().map(read).collect()
}

/// Whether the object has any field of a link.
fn is_link(object: &Object<'_>) -> bool {
    NAMES.iter().any(|name| object.get(name).is_some())
}

fn link(mut object: Object<'_>) -> SystemLink {
    let mut text = |names: &[&str]| object.text_of_any(names).unwrap_or_default();
    SystemLink {
        system_name: text(&["systemName"]),
        system_domain: text(&["systemDomain"]),
        user_email: text(&["userEmail"]),
        user_token: text(&["userToken"]),
        callback_url: text(&["callbackURL", "callbackUrl"]),
        additional_fields: object.rest(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Value;

    const LINK: &str = r#"{"systemName":"S","systemDomain":"d.example","userEmail":"u@example.com",
        "userToken":12345678901234567890,"callbackURL":"https://c.example","since":2019}"#;

    #[test]
    fn links_come_as_an_array_one_object_or_an_object_around_an_array() {
        for json in [
            format!("[{LINK}]"),
            LINK.to_owned(),
            format!(r#"{{"systemLinks":[{LINK}]}}"#),
            format!(r#"{{"total":1,"page":{{}},"results":[{LINK}]}}"#),
        ] {
            let links = decode(json.as_bytes()).unwrap();
            let [link] = &links[..] else { panic!("{json}") };
            assert_eq!(link.system_name, "S");
            assert_eq!(link.system_domain, "d.example");
            assert_eq!(link.user_email, "u@example.com");
            assert_eq!(link.user_token, "12345678901234567890");
            assert_eq!(link.callback_url, "https://c.example");
            assert_eq!(link.additional_fields["since"], Value::Number(2019.0));
            assert_eq!(link.additional_fields.len(), 1);
        }
    }

    #[test]
    fn an_empty_array_means_no_links() {
        for json in ["[]", r#"{"systemLinks":[]}"#, " [ ] "] {
            assert_eq!(decode(json.as_bytes()), Ok(vec![]), "{json}");
        }
    }

    #[test]
    fn a_body_that_holds_no_links_has_the_wrong_shape() {
        let bodies = r#"null|7|"x"|{}|[7]|[null]|[[]]|[{}]|[{"message":"maintenance"}]|{"a":[],"b":[]}
            |{"a":1}|{"int_err_code":"InvalidToken","msg":"Invalid token passed"}"#;
        for json in bodies.split('|') {
            assert_eq!(decode(json.as_bytes()), Err(InvalidBody::WrongShape), "{json}");
        }
        assert_eq!(decode(b"[{]"), Err(InvalidBody::NotJson));
        assert_eq!(decode(b""), Err(InvalidBody::Empty));
    }

    #[test]
    fn the_callback_url_is_taken_in_both_spellings_and_neither_is_lost() {
        let link = |json: &str| decode(json.as_bytes()).unwrap().remove(0);
        assert_eq!(link(r#"{"callbackUrl":"a"}"#).callback_url, "a");
        let both = link(r#"{"callbackUrl":"a","callbackURL":"b"}"#);
        assert_eq!(both.callback_url, "b");
        assert_eq!(both.additional_fields["callbackUrl"], Value::Text("a".to_owned()));
    }
}

//! System links as the vendor writes them. The only place that knows their JSON names.

use serde_json::value::RawValue;

use crate::{
    model::SystemLink,
    wire::json::{Malformed, Members, elements, text},
};

/// Reads the links of a domain. The vendor does not say whether they come as an array, so one bare
/// link and an object around the array are taken too. An object with nothing in it says nothing,
/// not even that there are no links.
pub(crate) fn decode(body: &[u8]) -> Result<Vec<SystemLink>, Malformed> {
    let json = text(body)?;
    if json.starts_with('[') {
        return links(json);
    }
    let members = Members::of(json)?;
    if is_link(&members) {
        return Ok(vec![link(members)]);
    }
    links(members.only_array().ok_or(Malformed::WrongShape)?.get())
}

const NAMES: [&str; 6] =
    ["systemName", "systemDomain", "userEmail", "userToken", "callbackURL", "callbackUrl"];

fn links(json: &str) -> Result<Vec<SystemLink>, Malformed> {
    let read = |json: &RawValue| {
        let members = Members::of(json.get())?;
        if is_link(&members) { Ok(link(members)) } else { Err(Malformed::WrongShape) }
    };
    elements(json)?.into_iter().map(read).collect()
}

/// Whether it has anything that a link has.
fn is_link(members: &Members<'_>) -> bool {
    NAMES.iter().any(|name| members.has(name))
}

fn link(mut members: Members<'_>) -> SystemLink {
    SystemLink {
        system_name: members.text("systemName").unwrap_or_default(),
        system_domain: members.text("systemDomain").unwrap_or_default(),
        user_email: members.text("userEmail").unwrap_or_default(),
        user_token: members.text("userToken").unwrap_or_default(),
        callback_url: members.text_of_any(&["callbackURL", "callbackUrl"]).unwrap_or_default(),
        additional_fields: members.rest(),
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
    fn no_link_is_an_empty_array_wrapped_or_not() {
        for json in ["[]", r#"{"systemLinks":[]}"#, " [ ] "] {
            assert_eq!(decode(json.as_bytes()), Ok(vec![]), "{json}");
        }
    }

    #[test]
    fn what_holds_no_links_is_of_another_shape() {
        for json in [
            "null",
            "7",
            "\"x\"",
            "{}",
            "[7]",
            "[null]",
            "[[]]",
            "[{}]",
            r#"[{"message":"maintenance"}]"#,
            r#"{"a":[],"b":[]}"#,
            r#"{"a":1}"#,
            r#"{"int_err_code":"InvalidToken","msg":"Invalid token passed"}"#,
        ] {
            assert_eq!(decode(json.as_bytes()), Err(Malformed::WrongShape), "{json}");
        }
        assert_eq!(decode(b"[{]"), Err(Malformed::NotJson));
        assert_eq!(decode(b""), Err(Malformed::Empty));
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

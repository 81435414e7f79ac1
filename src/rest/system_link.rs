//! System links as the vendor writes them. The only place that knows their JSON names.

use super::lenient::{Malformed, Members, elements, text};
use crate::model::SystemLink;

/// Reads the links of a domain. The vendor does not say whether they come as an array, so one bare
/// link and an object around the array are taken too; an object with nothing in it is no link.
pub(super) fn decode(body: &[u8]) -> Result<Vec<SystemLink>, Malformed> {
    let json = text(body)?;
    if json.starts_with('[') {
        return links(json);
    }
    let members = Members::of(json)?;
    if NAMES.iter().any(|name| members.has(name)) {
        return Ok(vec![link(members)]);
    }
    match members.only_array() {
        Some(array) => links(array.get()),
        None if members.is_empty() => Ok(Vec::new()),
        None => Err(Malformed::WrongShape),
    }
}

const NAMES: [&str; 6] =
    ["systemName", "systemDomain", "userEmail", "userToken", "callbackURL", "callbackUrl"];

fn links(json: &str) -> Result<Vec<SystemLink>, Malformed> {
    elements(json)?.into_iter().map(|json| Ok(link(Members::of(json.get())?))).collect()
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

//! The built-in sessions and links, which docs/simulator.md lists. All except the longest session
//! are in builtin.json.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{life::SessionScript, world::LinksScript};

/// The session whose body the fault `foreign-session` sends by default.
pub(super) const FOREIGN_ID: &str = "250040399";

#[derive(Deserialize)]
pub(super) struct Builtin {
    pub sessions: Vec<SessionScript>,
    pub links: BTreeMap<String, LinksScript>,
}

pub(super) fn builtin() -> serde_json::Result<Builtin> {
    let mut builtin: Builtin = serde_json::from_str(include_str!("builtin.json"))?;
    let long = SessionScript::new("250040359")
        .step(-3600.0, "waiting")
        .step(-3240.0, "active")
        .step(-1800.0, "complete")
        .field("notes", "All is well. ".repeat(200_000 / 13));
    builtin.sessions.push(long);
    Ok(builtin)
}

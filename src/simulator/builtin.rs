//! The sessions and links that are always there, as docs/simulator.md lists them.

use serde_json::json;

use super::life::{Fields, SessionScript};
use super::world::LinksScript;
use crate::config::simulate::{AbsentForm, Shape, TimestampForm};

/// The session whose body the fault `foreign-session` sends in place of another.
pub(super) const STRANGER_ID: &str = "250040399";

const HOUR: f64 = 3600.0;

pub(super) fn sessions() -> Vec<SessionScript> {
    let complete = |id: &str| {
        SessionScript::new(id)
            .step(-HOUR, "waiting")
            .step(-0.9 * HOUR, "active")
            .step(-0.5 * HOUR, "complete")
    };
    let nulls = Shape { absent: Some(AbsentForm::Null), ..Shape::default() };
    let times = Shape { timestamps: Some(TimestampForm::Unreadable), ..Shape::default() };
    let mut by_token = SessionScript::resting("250040306", "notStarted");
    by_token.token = Some("token-250040306".into());
    vec![
        SessionScript::resting("250040301", "notStarted"),
        SessionScript::new("250040302").step(-60.0, "notStarted").step(-30.0, "waiting"),
        SessionScript::new("250040303").step(-600.0, "waiting").step(-540.0, "active"),
        complete("250040304"),
        SessionScript::new("250040305").step(-HOUR, "waiting").step(-0.5 * HOUR, "abandoned"),
        by_token,
        every_field(complete("250040353")),
        bare(),
        complete("250040355")
            .raw_field("accountKey", "99999822536216596540")
            .raw_field("partnerObject", "-18422002972480548071"),
        complete("250040356")
            .field("customerName", "Zoë Ødegård 王小明 👩\u{200d}🔧")
            .field("notes", "Grüße, שלום, مرحبا\nline two\ttab \"quoted\" \\ \u{1F600} \u{0} end")
            .field("accountName", "株式会社テスト"),
        SessionScript::new("250040357").step(-60.0, "waiting").step(-30.0, "onHold"),
        SessionScript::new("250040358")
            .step(-60.0, "active")
            .field("unattendedMachineName", "FRONT-DESK-07")
            .field("unattendedMachineUuid", "5f0a54b2-6a3b-4d5e-9f6e-3b0d2c9f7a11")
            .field("accountName", "Example GmbH"),
        complete("250040359").field("notes", "All is well. ".repeat(200_000 / 13)),
        SessionScript { shape: nulls, ..SessionScript::resting("250040360", "waiting") },
        SessionScript { shape: times, ..complete("250040361") },
        complete(STRANGER_ID)
            .raw_field("accountKey", "9999982253621659654")
            .field("expertName", "Olga Other")
            .field("expertEmail", "olga.other@example.org")
            .field("expertUserKey", "7004499")
            .field("customerName", "Sam Stranger")
            .field("customerEmail", "sam.stranger@example.org")
            .field("notes", "Nobody else's business."),
        SessionScript::walking("SS-87555", 20.0)
            .later(70.0, "notes", "Printer works again.")
            .later(80.0, "sessionRecordingUrl", "https://recordings.example.com/SS-87555"),
        SessionScript::resting("a/b?c%2F d", "waiting"),
    ]
}

pub(super) fn links() -> Vec<(&'static str, LinksScript)> {
    let link = |name: &str, domain: &str| {
        let fields = [
            ("systemName", name),
            ("systemDomain", domain),
            ("userEmail", "helpdesk@example.com"),
            ("userToken", "8f14e45fceea167a5a36dedd4bea2543"),
            ("callbackURL", "https://helpdesk.example.com/callback"),
        ];
        fields
            .into_iter()
            .filter_map(|(field, value)| {
                Some((field.into(), serde_json::value::to_raw_value(value).ok()?))
            })
            .collect::<Fields>()
    };
    let script = |links| LinksScript { links, visible_to: None };
    vec![
        ("one.example.com", script(vec![link("Helpdesk", "one.example.com")])),
        (
            "two.example.com",
            script(vec![link("Helpdesk", "two.example.com"), link("Billing", "two.example.com")]),
        ),
    ]
}

fn every_field(script: SessionScript) -> SessionScript {
    script
        .raw_field("partnerObject", "8817265")
        .field("partnerObjectUrl", "https://tickets.example.com/8817265")
        .field("unattendedMachineName", "FRONT-DESK-07")
        .field("unattendedMachineUuid", "5f0a54b2-6a3b-4d5e-9f6e-3b0d2c9f7a11")
        .field("accountName", "Example GmbH")
        .field("customerJoinUrl", "https://www.fastsupport.example/?join=250040353")
        .field("notes", "Replaced the printer driver.")
        .field("sessionRecordingUrl", "https://recordings.example.com/250040353")
        .field(
            "collaborators",
            json!([
                { "name": "Tina Technician", "email": "tina@example.com", "userKey": 7_004_410 },
                "Tom Technician"
            ]),
        )
        .field("sessionStartToken", "start-token")
        .field("survey", json!({ "score": 4.5, "answers": ["yes", null, true] }))
}

/// As little as the documentation allows.
fn bare() -> SessionScript {
    let omit = ["expertName", "expertEmail", "expertUserKey", "customerJoinUrl"];
    let script = SessionScript::resting("250040354", "notStarted");
    SessionScript { omit: omit.map(String::from).to_vec(), ..script }
}

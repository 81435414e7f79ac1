//! `links`.

use super::{client, output};
use crate::{
    config::{LinksConfig, OutputFormat},
    proto::SystemLink,
};

/// Calls `ListSystemLinks` and prints the answer. `Err` is the exit status.
pub async fn run(config: &LinksConfig) -> Result<(), u8> {
    let client = client(&config.connection)?;
    let call = client.list_system_links(&config.system_domain, config.timeout).await;
    let answer = call.map_err(|failure| output::failure(&failure))?;
    match output::format(config.output) {
        OutputFormat::Json => {
            output::message("gotoassist.remotesupport.v1.ListSystemLinksResponse", &answer)
        }
        OutputFormat::Text => print(&answer.system_links),
    }
}

/// Prints the links for people, with an empty line between two.
fn print(links: &[SystemLink]) -> Result<(), u8> {
    if links.is_empty() {
        output::note(&"the vendor knows no link for this domain");
    }
    for (place, link) in links.iter().enumerate() {
        if place > 0 {
            output::text(&"")?;
        }
        let name = "gotoassist.remotesupport.v1.SystemLink";
        output::message_as(OutputFormat::Text, name, link)?;
    }
    Ok(())
}

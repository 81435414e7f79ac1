//! `links`.

use super::{client, output};
use crate::config::LinksConfig;

/// Calls `ListSystemLinks` and prints the answer. `Err` is the exit status.
pub async fn run(config: &LinksConfig) -> Result<(), u8> {
    let client = client(&config.connection)?;
    let call = client.list_system_links(&config.system_domain, config.timeout).await;
    let answer = call.map_err(|failure| output::failure(&failure))?;
    output::message("gotoassist.remotesupport.v1.ListSystemLinksResponse", &answer)
}

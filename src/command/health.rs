//! `health`.

use tonic_health::pb::health_check_response::ServingStatus;

use super::{FAILED, USAGE, output};
use crate::{
    client::{Client, json::Printer},
    config::HealthConfig,
};

/// Asks and prints the answer; gives the exit status: 0 if it serves.
pub async fn run(config: &HealthConfig) -> u8 {
    match ask(config).await {
        Ok(true) => 0,
        Ok(false) => FAILED,
        Err(status) => status,
    }
}

async fn ask(config: &HealthConfig) -> Result<bool, u8> {
    let client =
        Client::connect(&config.connection).map_err(|error| output::fail(USAGE, &error))?;
    let printer = Printer::new().map_err(|error| output::fail(FAILED, &error))?;
    let answer = client.health(&config.service, config.timeout).await.map_err(|failure| {
        output::failure(&failure);
        FAILED
    })?;
    output::message(&printer, &answer)?;
    Ok(answer.status() == ServingStatus::Serving)
}

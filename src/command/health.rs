//! `health`.

use super::{FAILED, client, output};
use crate::{config::HealthConfig, proto::health::health_check_response::ServingStatus};

/// Checks the health and prints the answer. `Err` is the exit status if the service is not serving.
pub async fn run(config: &HealthConfig) -> Result<(), u8> {
    let call = client(&config.connection)?.health(&config.service, config.timeout).await;
    let answer = call.map_err(|failure| {
        output::failure(&failure);
        FAILED
    })?;
    let format = output::format(config.output);
    output::message_as(format, "grpc.health.v1.HealthCheckResponse", &answer)?;
    if answer.status() == ServingStatus::Serving { Ok(()) } else { Err(FAILED) }
}

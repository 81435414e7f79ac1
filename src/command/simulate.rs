//! `simulate`.

use super::{FAILED, output, signal::Signals};
use crate::{config::SimulateConfig, simulator::Simulator};

/// Runs the simulated vendor until a signal. `Err` is the exit status.
pub async fn run(config: &SimulateConfig) -> Result<(), u8> {
    let simulator = Simulator::bind(config)
        .await
        .map_err(|error| output::fail(FAILED, &output::whole(&error)))?;
    let mut signals = Signals::new().map_err(|error| output::fail(FAILED, &error))?;
    output::text(&format_args!(
        "The vendor, simulated. Any bearer token is good; Ctrl-C ends it.\n\
         \n\
         \x20 REST API     {}\n\
         \x20 login        {}\n\
         \x20 token        {}\n\
         \x20 control API  http://{}/control\n",
        simulator.rest_url(),
        simulator.authorize_url(),
        simulator.token_url(),
        simulator.local_addr(),
    ))?;
    let stop = async {
        signals.next().await;
    };
    simulator.run(stop).await;
    Ok(())
}

//! `simulate`.

use super::{FAILED, output, signal::Signals};
use crate::{config::SimulateConfig, simulator::Simulator};

/// Plays the vendor until a signal; gives the exit status.
pub async fn run(config: &SimulateConfig) -> u8 {
    let simulator = match Simulator::bind(config).await {
        Ok(simulator) => simulator,
        Err(error) => return output::fail(FAILED, &output::whole(&error)),
    };
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => return output::fail(FAILED, &error),
    };
    let introduction = format!(
        "The vendor, simulated. Any bearer token is good; Ctrl-C ends it.\n\
         \n\
         \x20 REST API     {}\n\
         \x20 token        {}\n\
         \x20 control API  {}\n",
        simulator.rest_url(),
        simulator.token_url(),
        format_args!("http://{}/control", simulator.local_addr()),
    );
    if let Err(status) = output::text(&introduction) {
        return status;
    }
    let stop = async {
        signals.next().await;
    };
    simulator.run(stop).await;
    0
}

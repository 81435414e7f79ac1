//! What is told to a collector of traces.

use std::path::PathBuf;

use url::Url;

/// Traces, by OTLP over gRPC.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Traces")]
#[group(skip)]
pub struct Args {
    /// Collector that gets the traces, by OTLP over gRPC, such as `http://127.0.0.1:4317`. Without
    /// it there are none
    #[arg(long, value_name = "URL", value_parser = super::value::base_url)]
    pub otlp_endpoint: Option<Url>,

    /// PEM file with certificate authorities to trust at the collector besides the system's
    #[arg(long, value_name = "FILE")]
    pub otlp_ca_file: Option<PathBuf>,

    /// Share of calls that are traced, from 0 to 1. For a call that brings a `traceparent`, its
    /// sampled flag decides instead
    #[arg(long, value_name = "SHARE", value_parser = super::value::share, default_value = "1")]
    pub otlp_sample: f64,

    /// Send `traceparent` and `tracestate` to the vendor too
    #[arg(long)]
    pub otlp_propagate_upstream: bool,
}

impl Args {
    /// Everything that is wrong with it, each in a sentence.
    pub fn problems(&self) -> Vec<String> {
        let dependent = [
            ("--otlp-ca-file", self.otlp_ca_file.is_some()),
            ("--otlp-propagate-upstream", self.otlp_propagate_upstream),
        ];
        let useless = dependent.into_iter().filter(|(_, is_set)| *is_set);
        let useless = useless.filter(|_| self.otlp_endpoint.is_none());
        useless.map(|(flag, _)| format!("{flag} needs --otlp-endpoint.")).collect()
    }
}

//! The settings of traces.

use std::path::PathBuf;

use url::Url;

/// The settings of traces, which are sent by OTLP over gRPC.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Traces")]
#[group(skip)]
pub struct Args {
    /// URL of the collector, which gets the traces by OTLP over gRPC, such as
    /// `http://127.0.0.1:4317`. Without it there are no traces
    #[arg(long, value_name = "URL", value_parser = super::value::base_url)]
    pub otlp_endpoint: Option<Url>,

    /// PEM file with certificate authorities to trust for the collector, besides those of the
    /// system
    #[arg(long, value_name = "FILE")]
    pub otlp_ca_file: Option<PathBuf>,

    /// Share of calls that are traced, from 0 to 1. If a call has a `traceparent`, its sampled flag
    /// decides instead
    #[arg(long, value_name = "SHARE", value_parser = super::value::share, default_value = "1")]
    pub otlp_sample: f64,

    /// Send `traceparent` and `tracestate` to the vendor
    #[arg(long)]
    pub otlp_propagate_upstream: bool,
}

impl Args {
    /// Returns every problem of the configuration, each as a sentence.
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

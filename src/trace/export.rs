//! Exports spans to the collector through a bounded queue that never blocks.

use std::{
    fmt, fs, io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use opentelemetry::{Context, KeyValue, trace::Link, trace::SpanKind, trace::TraceId};
use opentelemetry_otlp::{
    ExporterBuildError, SpanExporter, WithExportConfig as _, WithTonicConfig as _,
    tonic_types::transport::{Certificate, ClientTlsConfig},
};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{
        self as sdk, BatchConfigBuilder, BatchSpanProcessor, Sampler, SamplingResult,
        SdkTracerProvider, ShouldSample, SpanData, SpanProcessor,
    },
};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use tracing::{info, warn};
use url::Url;

use super::metric;
use crate::config::trace::Args;

/// The greatest number of spans in the queue or in flight. A span takes about 1 KB.
const QUEUE_LIMIT: usize = 2048;

/// Why the exporter cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file with certificate authorities cannot be read.
    #[error("cannot read the file of certificate authorities {}", .0.display())]
    CertificateFile(PathBuf, #[source] io::Error),
    /// The file has no PEM certificate.
    #[error("no PEM certificate in the file of certificate authorities {}", .0.display())]
    NoCertificate(PathBuf),
    /// The exporter cannot be created, most likely because a certificate authority is not valid.
    #[error("cannot set up the exporter for --otlp-endpoint")]
    Exporter(#[from] ExporterBuildError),
}

/// The exporters, and the counts of spans.
pub(super) fn provider(endpoint: &Url, args: &Args) -> Result<SdkTracerProvider, Error> {
    let queued = Arc::new(AtomicUsize::new(0));
    let exporter = Counting {
        inner: exporter(endpoint, args)?,
        queued: queued.clone(),
        is_failing: AtomicBool::new(false),
    };
    let batches = BatchConfigBuilder::default().with_max_queue_size(QUEUE_LIMIT).build();
    let processor = Bounded { inner: BatchSpanProcessor::new(exporter, batches), queued };
    let resource = Resource::builder()
        .with_service_name(env!("CARGO_PKG_NAME"))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    Ok(SdkTracerProvider::builder()
        .with_resource(resource)
        .with_sampler(ByLinks(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(
            args.otlp_sample,
        )))))
        .with_span_processor(processor)
        .build())
}

/// Creates the exporter. It connects when there is a span to send.
pub(super) fn exporter(endpoint: &Url, args: &Args) -> Result<SpanExporter, Error> {
    let builder = SpanExporter::builder().with_tonic().with_endpoint(endpoint.as_str());
    if endpoint.scheme() != "https" {
        return Ok(builder.build()?);
    }
    let mut tls = ClientTlsConfig::new().with_enabled_roots();
    if let Some(file) = &args.otlp_ca_file {
        let pem = fs::read(file).map_err(|error| Error::CertificateFile(file.clone(), error))?;
        // The exporter would silently accept a file without a certificate.
        if !matches!(CertificateDer::pem_slice_iter(&pem).next(), Some(Ok(_))) {
            return Err(Error::NoCertificate(file.clone()));
        }
        tls = tls.ca_certificate(Certificate::from_pem(pem));
    }
    Ok(builder.with_tls_config(tls).build()?)
}

/// Samples a poll if it serves a sampled watch. The inner sampler decides about all other spans.
#[derive(Clone, Debug)]
struct ByLinks(Sampler);

impl ShouldSample for ByLinks {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        // A span has links only to sampled spans.
        let sampler = if links.is_empty() { &self.0 } else { &Sampler::AlwaysOn };
        sampler.should_sample(parent, trace_id, name, kind, attributes, links)
    }
}

/// Drops and counts a span when the queue is full. The inner queue would drop it silently.
#[derive(Debug)]
struct Bounded {
    inner: BatchSpanProcessor,
    queued: Arc<AtomicUsize>,
}

impl SpanProcessor for Bounded {
    fn on_start(&self, span: &mut sdk::Span, context: &Context) {
        self.inner.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.queued.fetch_add(1, Ordering::Relaxed) < QUEUE_LIMIT {
            self.inner.on_end(span);
        } else {
            self.queued.fetch_sub(1, Ordering::Relaxed);
            metric::count(metric::DROPPED, 1);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// Counts the spans that the collector accepted and rejected. Logs once when that changes.
struct Counting<E> {
    inner: E,
    queued: Arc<AtomicUsize>,
    is_failing: AtomicBool,
}

impl<E> fmt::Debug for Counting<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counting").finish_non_exhaustive()
    }
}

impl<E: sdk::SpanExporter> sdk::SpanExporter for Counting<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let result = self.inner.export(batch).await;
        self.queued.fetch_sub(spans, Ordering::Relaxed);
        metric::count(if result.is_ok() { metric::EXPORTED } else { metric::FAILED }, spans);
        let was_failing = self.is_failing.swap(result.is_err(), Ordering::Relaxed);
        match &result {
            Err(error) if !was_failing => warn!(%error, "the collector takes no spans"),
            Ok(()) if was_failing => info!("the collector takes spans again"),
            Ok(()) | Err(_) => {}
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn shutdown(&self) -> OTelSdkResult {
        self.inner.shutdown()
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

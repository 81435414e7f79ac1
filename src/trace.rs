//! Traces: the spans of the service, and their attributes. Only this module uses `OpenTelemetry`.
//!
//! A span has only the attributes that this module sets. Log lines, headers, paths and bodies are
//! never added. Without a collector there is no [`Tracer`], and every [`Cause`] and [`Span`] is a
//! `None`.

mod export;
mod links;
mod metric;
mod w3c;

use std::{fmt, sync::Arc, time::Duration};

use http::HeaderMap;
use opentelemetry::{
    Context, KeyValue, Value,
    trace::{
        Link, Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt as _,
        Tracer as _, TracerProvider as _,
    },
};
use opentelemetry_sdk::trace::{self as sdk, SdkTracer, SdkTracerProvider};

pub use export::Error;
pub use links::Links;

use crate::config::trace::Args;

/// The longest time that the process spends at its end to send the remaining spans.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// Starts the traces of calls. All clones share one exporter.
#[derive(Clone, Default)]
pub struct Tracer(Option<Arc<Collected>>);

/// The state that all spans share.
struct Collected {
    tracer: SdkTracer,
    provider: SdkTracerProvider,
    propagates_upstream: bool,
}

/// The parent of a span, such as a call or a poll. It is cheap to clone.
#[derive(Clone, Default)]
pub struct Cause(Option<Arc<Node>>);

struct Node {
    collected: Arc<Collected>,
    context: SpanContext,
}

/// An open span. It ends when it is dropped.
#[derive(Default)]
pub struct Span(Option<Box<Open>>);

struct Open {
    span: sdk::Span,
    cause: Cause,
}

/// The result of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A success, or a failure that the caller caused.
    Fine,
    /// A failure.
    Failed,
}

impl Tracer {
    /// Creates a tracer, if the configuration has a collector. It sends nothing yet. This must be
    /// called within a runtime.
    pub fn new(args: &Args) -> Result<Self, Error> {
        let Some(endpoint) = &args.otlp_endpoint else { return Ok(Self(None)) };
        metric::describe();
        let provider = export::provider(endpoint, args)?;
        let tracer = provider.tracer(env!("CARGO_PKG_NAME"));
        let propagates_upstream = args.otlp_propagate_upstream;
        Ok(Self(Some(Arc::new(Collected { tracer, provider, propagates_upstream }))))
    }

    /// Why a tracer cannot be created.
    pub fn problem(args: &Args) -> Option<Error> {
        export::exporter(args.otlp_endpoint.as_ref()?, args).err()
    }

    /// Whether there is a collector.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Starts the span of a call. The caller may have started the trace. The method is
    /// `package.Service/Method`.
    pub fn call(&self, method: &str, headers: &HeaderMap) -> Span {
        let Some(collected) = &self.0 else { return Span(None) };
        let builder = SpanBuilder::from_name(method.to_owned())
            .with_kind(SpanKind::Server)
            .with_attributes([
                KeyValue::new("rpc.system.name", "grpc"),
                KeyValue::new("rpc.method", method.to_owned()),
            ]);
        Span::start(collected, builder, &w3c::read(headers))
    }

    /// The longest time that [`Self::flush`] takes.
    pub fn flush_limit(&self) -> Duration {
        self.0.as_ref().map_or(Duration::ZERO, |_| FLUSH_LIMIT)
    }

    /// Sends the remaining spans and accepts no more. Blocks for at most `limit`.
    pub fn flush(&self, limit: Duration) {
        if let Some(collected) = &self.0
            && let Err(error) = collected.provider.shutdown_with_timeout(limit)
        {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracer").field("is_on", &self.0.is_some()).finish()
    }
}

impl Cause {
    /// Starts the span of an upstream request. `template` is its path with names in place of
    /// values. `resends` is the number of earlier requests of the same call.
    pub fn request(&self, template: &'static str, host: &Host, resends: u32) -> Span {
        let Some(node) = &self.0 else { return Span(None) };
        let mut attributes = vec![
            KeyValue::new("http.request.method", "GET"),
            KeyValue::new("url.template", template),
            KeyValue::new("server.address", host.address.clone()),
            KeyValue::new("server.port", i64::from(host.port)),
        ];
        if resends > 0 {
            attributes.push(KeyValue::new("http.request.resend_count", i64::from(resends)));
        }
        let builder = SpanBuilder::from_name(format!("GET {template}"))
            .with_kind(SpanKind::Client)
            .with_attributes(attributes);
        let parent = Context::new().with_remote_span_context(node.context.clone());
        Span::start(&node.collected, builder, &parent)
    }

    /// Whether the collector gets this span.
    fn is_recorded(&self) -> bool {
        self.0.as_ref().is_some_and(|node| node.context.is_sampled())
    }

    fn is(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(node), Some(other)) => Arc::ptr_eq(node, other),
            (None, _) | (_, None) => false,
        }
    }
}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cause").field("is_recorded", &self.is_recorded()).finish()
    }
}

/// The server that gets upstream requests.
#[derive(Clone, Debug)]
pub struct Host {
    /// The host name or IP address.
    pub address: Arc<str>,
    /// The port.
    pub port: u16,
}

impl Span {
    fn start(collected: &Arc<Collected>, builder: SpanBuilder, parent: &Context) -> Self {
        let span = collected.tracer.build_with_context(builder, parent);
        let context = span.span_context().clone();
        let node = Node { collected: collected.clone(), context };
        Self(Some(Box::new(Open { span, cause: Cause(Some(Arc::new(node))) })))
    }

    /// Starts the span of a poll. A poll serves many watches, so it has its own trace, with links
    /// to theirs.
    fn poll(watches: &[Cause]) -> Self {
        let nodes: Vec<_> = watches.iter().filter_map(|watch| watch.0.as_ref()).collect();
        let Some(first) = nodes.first() else { return Self(None) };
        let links = nodes.iter().map(|node| Link::with_context(node.context.clone()));
        let builder = SpanBuilder::from_name("poll")
            .with_kind(SpanKind::Internal)
            .with_links(links.collect());
        Self::start(&first.collected, builder, &Context::new())
    }

    /// The parent for the spans that this span causes.
    pub fn cause(&self) -> Cause {
        self.0.as_ref().map_or_else(Cause::default, |open| open.cause.clone())
    }

    /// The trace id, 32 hexadecimal digits, if the collector gets this span.
    pub fn trace_id(&self) -> Option<String> {
        let open = self.0.as_ref().filter(|open| open.cause.is_recorded())?;
        Some(open.span.span_context().trace_id().to_string())
    }

    /// The headers that let the other side join the trace. They are empty if propagation is off.
    pub fn headers(&self) -> HeaderMap {
        let node = self.0.as_ref().and_then(|open| open.cause.0.as_ref());
        let node = node.filter(|node| node.collected.propagates_upstream);
        node.map(|node| w3c::headers(&node.context)).unwrap_or_default()
    }

    /// Records the end of a call: the name of its status code, and the reason of the error if there
    /// is one.
    pub fn end_call(self, code: &'static str, reason: Option<&str>, outcome: Outcome) {
        self.end(outcome, |set| {
            set("rpc.response.status_code", code.into());
            if outcome == Outcome::Failed {
                set("error.type", code.into());
            }
            if let Some(reason) = reason {
                set("gotoassist.error.reason", reason.to_owned().into());
            }
        });
    }

    /// Records the end of an upstream request: the HTTP status, and the name of the failure if
    /// there is one.
    pub fn end_request(self, status: Option<u16>, failure: Option<&'static str>) {
        let outcome = failure.map_or(Outcome::Fine, |_| Outcome::Failed);
        self.end(outcome, |set| {
            if let Some(status) = status {
                set("http.response.status_code", i64::from(status).into());
            }
            if let Some(failure) = failure {
                set("error.type", failure.into());
            }
        });
    }

    /// Records the result of a poll.
    pub fn end_poll(self, result: &'static str, outcome: Outcome) {
        self.end(outcome, |set| set("gotoassist.poll.result", result.into()));
    }

    fn end(self, outcome: Outcome, describe: impl FnOnce(&mut dyn FnMut(&'static str, Value))) {
        let Some(mut open) = self.0 else { return };
        if !open.span.is_recording() {
            return;
        }
        describe(&mut |key, value| open.span.set_attribute(KeyValue::new(key, value)));
        if outcome == Outcome::Failed {
            // The description stays empty, because the text could come from another party.
            open.span.set_status(Status::error(""));
        }
    }
}

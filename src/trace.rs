//! Traces: which spans there are, and what they say. The only place that knows `OpenTelemetry`.
//!
//! A span says what is put into it here and nothing else: no line of the log, no header, path or
//! body finds its way into one by itself. Without a collector there is no [`Tracer`], and every
//! [`Cause`] and [`Span`] is a `None`.

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

/// Longest time that is spent at the end on spans which have not been sent.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// Begins the traces of calls. Clones are one.
#[derive(Clone, Default)]
pub struct Tracer(Option<Arc<Collected>>);

/// What all spans have to do with each other.
struct Collected {
    tracer: SdkTracer,
    provider: SdkTracerProvider,
    propagates_upstream: bool,
}

/// What spans are caused by: a call, a poll. Cheap to clone.
#[derive(Clone, Default)]
pub struct Cause(Option<Arc<Node>>);

struct Node {
    collected: Arc<Collected>,
    context: SpanContext,
}

/// Something that takes time and has not ended. It ends when dropped.
#[derive(Default)]
pub struct Span(Option<Box<Open>>);

struct Open {
    span: sdk::Span,
    cause: Cause,
}

/// How a span ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it should, or as its caller deserves.
    Fine,
    /// Not as it should.
    Failed,
}

impl Tracer {
    /// A tracer for the collector, if there is one; nothing is sent yet. Must be called within a
    /// runtime.
    pub fn new(args: &Args) -> Result<Self, Error> {
        let Some(endpoint) = &args.otlp_endpoint else { return Ok(Self(None)) };
        metric::describe();
        let provider = export::provider(endpoint, args)?;
        let tracer = provider.tracer(env!("CARGO_PKG_NAME"));
        let propagates_upstream = args.otlp_propagate_upstream;
        Ok(Self(Some(Arc::new(Collected { tracer, provider, propagates_upstream }))))
    }

    /// Why there can be no tracer for the collector.
    pub fn problem(args: &Args) -> Option<Error> {
        export::exporter(args.otlp_endpoint.as_ref()?, args).err()
    }

    /// Whether there is a collector.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// A call of a caller, who may have begun its trace. The method is `package.Service/Method`.
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

    /// How much of the time for the end [`Self::flush`] may need.
    pub fn flush_limit(&self) -> Duration {
        self.0.as_ref().map_or(Duration::ZERO, |_| FLUSH_LIMIT)
    }

    /// Sends what has not been sent, and takes no more. Blocks, for `limit` at most.
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
    /// A request to the vendor for `template`, a path with names in place of values. `resends` is
    /// how many requests of the same call went before.
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

    /// Whether a collector hears of it.
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

/// Where requests go.
#[derive(Clone, Debug)]
pub struct Host {
    /// Name or address.
    pub address: Arc<str>,
    /// Port.
    pub port: u16,
}

impl Span {
    fn start(collected: &Arc<Collected>, builder: SpanBuilder, parent: &Context) -> Self {
        let span = collected.tracer.build_with_context(builder, parent);
        let context = span.span_context().clone();
        let node = Node { collected: collected.clone(), context };
        Self(Some(Box::new(Open { span, cause: Cause(Some(Arc::new(node))) })))
    }

    /// A poll, which many watches have a part in, so it is a trace of its own with links to theirs.
    fn poll(watches: &[Cause]) -> Self {
        let nodes: Vec<_> = watches.iter().filter_map(|watch| watch.0.as_ref()).collect();
        let Some(first) = nodes.first() else { return Self(None) };
        let links = nodes.iter().map(|node| Link::with_context(node.context.clone()));
        let builder = SpanBuilder::from_name("poll")
            .with_kind(SpanKind::Internal)
            .with_links(links.collect());
        Self::start(&first.collected, builder, &Context::new())
    }

    /// What it causes hangs on this.
    pub fn cause(&self) -> Cause {
        self.0.as_ref().map_or_else(Cause::default, |open| open.cause.clone())
    }

    /// The id of its trace, 32 hexadecimal digits, if a collector hears of it.
    pub fn trace_id(&self) -> Option<String> {
        let open = self.0.as_ref().filter(|open| open.cause.is_recorded())?;
        Some(open.span.span_context().trace_id().to_string())
    }

    /// The headers by which the other side joins the trace; none unless that is wanted.
    pub fn headers(&self) -> HeaderMap {
        let node = self.0.as_ref().and_then(|open| open.cause.0.as_ref());
        let node = node.filter(|node| node.collected.propagates_upstream);
        node.map(|node| w3c::headers(&node.context)).unwrap_or_default()
    }

    /// Says how a call ended: the status code by its name, and the reason of the error if any.
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

    /// Says how a request ended: the status of the answer, and by what name it failed if it did.
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

    /// Says what a poll brought.
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
            // Without a text: it would be somebody else's words.
            open.span.set_status(Status::error(""));
        }
    }
}

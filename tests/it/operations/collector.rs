//! A fake collector of traces, which stores all spans.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::any_value::Value,
    trace::v1::Span,
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request, Response, Status,
    transport::{Identity, Server, ServerTlsConfig},
};

/// The collector. It stops when it is dropped.
pub struct Collector {
    address: SocketAddr,
    kept: Kept,
    task: JoinHandle<()>,
}

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

#[tonic::async_trait]
impl TraceService for Kept {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    pub async fn start() -> Self {
        Self::serve(Server::builder()).await
    }

    pub async fn start_secured(identity: Identity) -> Self {
        let tls = ServerTlsConfig::new().identity(identity);
        Self::serve(Server::builder().tls_config(tls).unwrap()).await
    }

    async fn serve(mut server: Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let kept = Kept::default();
        let router = server.add_service(TraceServiceServer::new(kept.clone()));
        let incoming = TcpListenerStream::new(listener);
        let task = tokio::spawn(async { router.serve_with_incoming(incoming).await.unwrap() });
        Self { address, kept, task }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn secured_url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// All spans received.
    pub fn spans(&self) -> Vec<Span> {
        let kept = self.kept.0.lock().unwrap();
        let resources = kept.iter().flat_map(|request| &request.resource_spans);
        let scopes = resources.flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }

    /// All requests received, as text.
    pub fn text(&self) -> String {
        format!("{:?}", self.kept.0.lock().unwrap())
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An attribute of a span, as text.
pub fn attribute(span: &Span, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.clone()?.value? {
        Value::StringValue(text) => Some(text),
        Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{key}: {other:?}"),
    }
}

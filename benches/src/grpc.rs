//! The peer of a plugin call: the same records to a subprocess and back, over gRPC on a unix socket. Written by
//! hand where a compiler of protocol files would generate it, so that building it needs none.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::body::Body as TonicBody;
use tonic::codegen::{Body, BoxFuture, StdError, http};
use tonic::server::{NamedService, UnaryService};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

/// What a plugin is given, as protocol buffers have it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Spec {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(string, tag = "3")]
    pub slug: String,
    #[prost(string, tag = "4")]
    pub version: String,
    #[prost(uint32, tag = "5")]
    pub cpu_millis: u32,
    #[prost(uint64, tag = "6")]
    pub memory_bytes: u64,
    #[prost(uint64, tag = "7")]
    pub storage_bytes: u64,
    #[prost(message, repeated, tag = "8")]
    pub settings: Vec<Setting>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Setting {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

/// What it answers: the part of a workload that grows with the record.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Plan {
    #[prost(string, tag = "1")]
    pub member: String,
    #[prost(string, tag = "2")]
    pub program: String,
    #[prost(string, tag = "3")]
    pub version: String,
    #[prost(string, repeated, tag = "4")]
    pub args: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    pub env: Vec<Setting>,
    #[prost(string, tag = "6")]
    pub file: String,
    #[prost(uint64, tag = "7")]
    pub volume_bytes: u64,
}

/// The work of the call, the same in every peer.
pub fn plan(spec: Spec) -> Plan {
    Plan {
        member: "main".into(),
        program: "probe-server".into(),
        version: spec.version,
        args: vec![
            "--config=${file:server.conf}".into(),
            "--data=${volume:data}".into(),
        ],
        env: spec.settings,
        file: format!("# {}\nport = ${{port:sql}}\n", spec.name),
        volume_bytes: spec.storage_bytes,
    }
}

const METHOD: &str = "/berth.bench.Planner/Plan";

/// A client of a server in a process of its own, which ends with it.
pub struct Planner {
    process: Child,
    client: tonic::client::Grpc<Channel>,
}

impl Planner {
    pub async fn start(socket: &Path) -> Self {
        let process = Command::new(std::env::current_exe().expect("own path"))
            .arg("grpc-server")
            .arg(socket)
            .stdin(Stdio::null())
            .spawn()
            .expect("a subprocess");
        let deadline = Instant::now() + Duration::from_secs(10);
        while UnixStream::connect(socket).await.is_err() {
            assert!(Instant::now() < deadline, "the gRPC server did not come up");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let path = socket.to_owned();
        let connect = tower::service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://unix")
            .connect_with_connector(connect)
            .await
            .expect("connected");
        Self {
            process,
            client: tonic::client::Grpc::new(channel),
        }
    }

    pub async fn plan(&mut self, spec: Spec) -> Plan {
        self.client.ready().await.expect("ready");
        let codec = ProstCodec::<Spec, Plan>::default();
        let path = http::uri::PathAndQuery::from_static(METHOD);
        let answer = self.client.unary(Request::new(spec), path, codec).await;
        answer.expect("answered").into_inner()
    }
}

impl Drop for Planner {
    fn drop(&mut self) {
        // It may be gone already; either way nothing is left.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The subprocess: serves until it is killed.
pub async fn serve(socket: &Path) {
    let listener = UnixListener::bind(socket).expect("a unix socket");
    Server::builder()
        .add_service(PlannerService)
        .serve_with_incoming(UnixListenerStream::new(listener))
        .await
        .expect("served");
}

#[derive(Clone)]
struct PlannerService;

impl NamedService for PlannerService {
    const NAME: &'static str = "berth.bench.Planner";
}

impl<B> tower::Service<http::Request<B>> for PlannerService
where
    B: Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<TonicBody>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        Box::pin(async move {
            let codec = ProstCodec::<Plan, Spec>::default();
            Ok(tonic::server::Grpc::new(codec)
                .unary(PlanMethod, request)
                .await)
        })
    }
}

struct PlanMethod;

impl UnaryService<Spec> for PlanMethod {
    type Response = Plan;
    type Future = Ready<Result<Response<Plan>, Status>>;

    fn call(&mut self, request: Request<Spec>) -> Self::Future {
        ready(Ok(Response::new(plan(request.into_inner()))))
    }
}

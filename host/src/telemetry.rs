//! What Berth tells of itself: logs to standard error, as text for people or as JSON for machines, and traces to
//! a collector if the operator names one. Nothing secret reaches either, so nothing is taken out here.

mod fields;

use std::io::IsTerminal;
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider,
};
use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterFn, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use self::fields::Fields;

/// How long a collector may take for one batch.
const COLLECTOR_TIMEOUT: Duration = Duration::from_secs(5);
/// How often what was gathered is sent.
const SEND_EVERY: Duration = Duration::from_secs(1);
/// How long the last batch may hold up the end.
const LAST_WORDS: Duration = Duration::from_secs(3);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
}

/// Where traces go.
#[derive(Clone, Debug)]
pub struct Traces {
    /// OTLP over HTTP, the whole URL.
    pub endpoint: String,
    /// How many of a hundred traces are kept that begin here; those that a caller began are kept as it says.
    pub sample_percent: u8,
    /// Which of several hosts it is.
    pub node: String,
}

/// Held until the process ends; then what was gathered is sent.
#[derive(Default)]
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

/// Once in a process, and in a tokio runtime. `directives` is a level, or several by module.
pub fn init(
    directives: &str,
    format: Format,
    traces: Option<&Traces>,
) -> Result<Telemetry, String> {
    let filter = directives.parse::<Targets>();
    let filter = filter.map_err(|error| error.to_string())?;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let lines = match format {
        Format::Text => lines.fmt_fields(Fields).boxed(),
        Format::Json => lines.json().boxed(),
    };
    let provider = traces.map(provider).transpose()?;
    let registry = tracing_subscriber::registry();
    let begun = match &provider {
        // A filter of one layer is asked again whenever a span is entered and left.
        None => registry.with(lines).with(filter).try_init(),
        Some(provider) => registry
            .with(lines.with_filter(filter))
            .with(spans(provider))
            .try_init(),
    };
    begun.map_err(|error| error.to_string())?;
    Ok(Telemetry { provider })
}

impl Telemetry {
    /// Send what is left. A collector that does not answer holds nobody up for long.
    pub async fn end(self) {
        let Some(provider) = self.provider else {
            return;
        };
        let end = move || provider.shutdown_with_timeout(LAST_WORDS);
        match tokio::task::spawn_blocking(end).await {
            Ok(Ok(())) => {}
            Ok(Err(problem)) => tracing::warn!(%problem, "the last traces were not sent"),
            Err(problem) => tracing::warn!(%problem, "the last traces were lost"),
        }
    }
}

fn provider(traces: &Traces) -> Result<SdkTracerProvider, String> {
    let client = OnRuntime {
        client: HyperClient::with_default_connector(COLLECTOR_TIMEOUT, None),
        runtime: tokio::runtime::Handle::current(),
    };
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(&traces.endpoint)
        .with_timeout(COLLECTOR_TIMEOUT)
        .build()
        .map_err(|error| format!("traces cannot be sent to {}: {error}", traces.endpoint))?;
    let config = BatchConfigBuilder::default().with_scheduled_delay(SEND_EVERY);
    let batches = BatchSpanProcessor::builder(exporter).with_batch_config(config.build());
    let share = f64::from(traces.sample_percent.min(100)) / 100.0;
    let begun_here = Sampler::TraceIdRatioBased(share);
    let resource = Resource::builder()
        .with_service_name("berth")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("service.instance.id", traces.node.clone()));
    Ok(SdkTracerProvider::builder()
        .with_span_processor(batches.build())
        .with_sampler(Sampler::ParentBased(Box::new(begun_here)))
        .with_resource(resource.build())
        .build())
}

/// Spans of Berth, down to each call of a capability, with what the log says within them.
fn spans<S>(provider: &SdkTracerProvider) -> impl Layer<S> + Send + Sync + use<S>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    let ours = |metadata: &Metadata<'_>| {
        let target = metadata.target();
        let inside = target.starts_with("berth") || target == "plugin";
        inside && (metadata.is_span() || *metadata.level() <= Level::INFO)
    };
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("berth"))
        .with_location(false)
        .with_threads(false)
        .with_filter(FilterFn::new(ours).with_max_level_hint(LevelFilter::DEBUG))
}

/// The exporter has a thread of its own, which knows no runtime; the client needs one.
#[derive(Debug)]
struct OnRuntime {
    client: HyperClient,
    runtime: tokio::runtime::Handle,
}

#[async_trait]
impl HttpClient for OnRuntime {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let sent = self
            .runtime
            .spawn(async move { client.send_bytes(request).await });
        sent.await?
    }
}

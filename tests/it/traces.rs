//! One trace per request, from the API down to each call of a capability, as a collector gets it: a small one
//! stands here and reads what the real binary sends.

use std::collections::HashMap;
use std::fs;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use berth_tests::real::{DataDir, Host};
use berth_tests::wait_for;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

use crate::lifecycle::{body, destroy};
use crate::limits;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";
const OTHER_TRACE: &str = "11112222333344445555666677778888";

#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Span>>>);

impl Collector {
    /// Answers where it listens, too.
    async fn start() -> (Self, String) {
        let collector = Self::default();
        let routes = axum::Router::new()
            .route("/v1/traces", post(Self::take))
            .with_state(collector.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, routes).await });
        (collector, format!("http://{address}/v1/traces"))
    }

    async fn take(State(collector): State<Self>, headers: HeaderMap, body: Bytes) {
        assert_eq!(headers["content-type"], "application/x-protobuf");
        let request = ExportTraceServiceRequest::decode(body).unwrap();
        let resources = request.resource_spans.into_iter();
        let spans = resources
            .flat_map(|resource| resource.scope_spans)
            .flat_map(|scope| scope.spans);
        collector.0.lock().unwrap().extend(spans);
    }

    fn of_trace(&self, trace: &str) -> Vec<Span> {
        let spans = self.0.lock().unwrap();
        let ours = spans.iter().filter(|span| hex(&span.trace_id) == trace);
        ours.cloned().collect()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attribute(span: &Span, name: &str) -> Option<String> {
    let found = span.attributes.iter().find(|a| a.key == name)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        Value::BoolValue(is) => Some(is.to_string()),
        other => panic!("{name} is {other:?}"),
    }
}

/// The span and those above it, by their names, up to the caller's own.
fn line_of(span: &Span, spans: &HashMap<String, Span>) -> Vec<String> {
    let mut line = vec![span.name.clone()];
    let mut parent = hex(&span.parent_span_id);
    while let Some(span) = spans.get(&parent) {
        line.push(span.name.clone());
        parent = hex(&span.parent_span_id);
    }
    assert_eq!(parent, CALLER, "{line:?} does not end with the caller");
    line
}

async fn create(host: &Host, name: &str, trace: &str) -> (String, String, String) {
    let answer = reqwest::Client::new()
        .post(format!("{}/api/v1/databases", host.base()))
        .bearer_auth(host.key())
        .header("traceparent", format!("00-{trace}-{CALLER}-01"))
        .header("x-request-id", format!("request-of-{name}"))
        .json(&body(name))
        .send()
        .await
        .unwrap();
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    let (request, operation) = (header("x-request-id"), header("x-operation-id"));
    let created: serde_json::Value = answer.json().await.unwrap();
    let id = created["id"].as_str().unwrap().to_owned();
    (id, request, operation)
}

#[tokio::test]
async fn one_trace_leads_from_the_request_to_each_capability_and_on_after_a_kill() {
    let (collector, endpoint) = Collector::start().await;
    let data = DataDir::new();
    let config = data.path().join("berth.toml");
    let settings = format!("[traces]\notlp_endpoint = \"{endpoint}\"\n[log]\nformat = \"json\"\n");
    fs::write(&config, settings).unwrap();
    let flags = ["--config", config.to_str().unwrap()];
    let mut host = Host::start_with(&data, &flags).await;
    let (id, request, operation) = create(&host, "traced", TRACE).await;
    host.wait_status(&id, "running").await;

    let spans = wait_for("the operation's span", async || {
        let spans = collector.of_trace(TRACE);
        spans.iter().any(|s| s.name == "operation").then_some(spans)
    })
    .await;
    let by_id: HashMap<String, Span> = spans
        .iter()
        .map(|span| (hex(&span.span_id), span.clone()))
        .collect();
    let lines: Vec<Vec<String>> = spans.iter().map(|span| line_of(span, &by_id)).collect();
    for expected in [
        &["request"][..],
        &["plugin call", "request"],
        &["operation", "request"],
        &["step", "operation", "request"],
        &["plugin call", "step", "operation", "request"],
        &["capability", "plugin call", "step", "operation", "request"],
    ] {
        assert!(
            lines.iter().any(|line| line == expected),
            "{expected:?}: {lines:?}"
        );
    }
    let named = |name: &'static str| spans.iter().filter(move |span| span.name == name);
    let root = named("request").next().unwrap();
    assert_eq!(attribute(root, "id").as_deref(), Some(&*request));
    assert_eq!(attribute(root, "status").as_deref(), Some("201"));
    assert_eq!(
        attribute(root, "route").as_deref(),
        Some("/api/v1/databases")
    );
    let driven = named("operation").next().unwrap();
    assert_eq!(attribute(driven, "id").as_deref(), Some(&*operation));
    assert_eq!(attribute(driven, "request").as_deref(), Some(&*request));
    assert_eq!(attribute(driven, "kind").as_deref(), Some("create"));
    let steps: Vec<_> = named("step").filter_map(|s| attribute(s, "step")).collect();
    for step in [
        "plan",
        "reserve",
        "secrets",
        "provision",
        "ready",
        "bootstrap",
        "verify",
    ] {
        assert!(steps.iter().any(|s| s == step), "{step}: {steps:?}");
    }
    let capabilities: Vec<_> = named("capability")
        .filter_map(|s| attribute(s, "of"))
        .collect();
    for capability in ["files", "process", "socket"] {
        assert!(
            capabilities.iter().any(|c| c == capability),
            "{capabilities:?}"
        );
    }

    // Another process goes on in the trace that the request was part of.
    let (second, request, operation) = create(&host, "killed", OTHER_TRACE).await;
    wait_for("its first steps", async || {
        let path = format!("/admin/v1/operations/{operation}");
        let shown = host.get(&path).await.expect(200);
        (shown["progress"].as_u64() > Some(20)).then_some(())
    })
    .await;
    host.kill9();
    let mut host = Host::start_with(&data, &flags).await;
    host.wait_status(&second, "running").await;
    let resumed = wait_for("the span of the operation that went on", async || {
        let spans = collector.of_trace(OTHER_TRACE);
        spans.into_iter().find(|span| span.name == "operation")
    })
    .await;
    assert_eq!(attribute(&resumed, "id").as_deref(), Some(&*operation));
    assert_eq!(attribute(&resumed, "request").as_deref(), Some(&*request));

    lines_name_their_operation(&data, &operation, &request);
    for id in [&id, &second] {
        destroy(&host, id).await;
    }
    // What was gathered last is sent before the end.
    host.signal(nix::sys::signal::Signal::SIGTERM);
    let status = wait_for("the host to end", async || host.ended()).await;
    assert_eq!(status.code(), Some(0));
}

/// On a host that does nothing of its own accord, whatever is logged while a request is under way is the request's, down
/// to what a plugin says and what is refused.
#[tokio::test]
async fn each_line_between_a_request_and_its_answer_carries_its_id() {
    const QUIET: &str = "[log]\nformat = \"json\"\nlevel = \"info,berth=debug\"\n\
        [supervisor]\nperiod = \"1h\"\n";
    let data = DataDir::new();
    let host = limits::start(&data, QUIET).await;
    wait_for("it to be ready", async || {
        (host.get("/readyz").await.status == 200).then_some(())
    })
    .await;
    let log = || fs::read_to_string(data.path().join("host.log")).unwrap();
    let client = reqwest::Client::new();
    let databases = format!("{}/api/v1/databases", host.base());
    let wanted = |name| client.post(&databases).json(&limits::wanted(name));
    let path = |path: &str| format!("{}{path}", host.base());
    let nobody = uuid::Uuid::nil();
    let cases = [
        ("created", wanted("calm"), 201, "a calm one is asked for"),
        (
            "crashed",
            wanted("crasher"),
            500,
            "a call into a plugin was ended",
        ),
        ("taken", wanted("calm"), 409, ""),
        ("invalid", wanted("9"), 422, ""),
        ("absent", client.get(path("/no/such/thing")), 404, ""),
        (
            "denied",
            client.get(&databases).bearer_auth(nobody),
            401,
            "",
        ),
    ];
    for (id, request, status, says) in cases {
        let before = log().len();
        let request = match id {
            "denied" => request,
            _ => request.bearer_auth(host.key()),
        };
        let answer = request.header("x-request-id", id).send().await.unwrap();
        assert_eq!(answer.headers()["x-request-id"], id);
        assert_eq!(answer.status().as_u16(), status, "{id}");
        let body: serde_json::Value = answer.json().await.unwrap();
        if status >= 400 {
            assert_eq!(body["request_id"], id, "{body}");
        }
        if id == "created" {
            // What it began is its own, to the end.
            host.wait_status(body["id"].as_str().unwrap(), "running")
                .await;
        }
        let text = log();
        let (mut lines, mut told) = (0, says.is_empty());
        for line in text[before..].lines() {
            let parsed: serde_json::Value = serde_json::from_str(line).expect(line);
            let spans = parsed["spans"].as_array().cloned().unwrap_or_default();
            // What the waiting above asks for is another request's.
            let polls = |span: &serde_json::Value| span["name"] == "request" && span["id"] != id;
            // And what becomes of files in the plugins folder is nobody's.
            let target = parsed["target"].as_str().unwrap_or_default();
            if spans.iter().any(polls) || target.starts_with("berth::runtime::registry") {
                continue;
            }
            let names = |value: &serde_json::Value| value["id"] == id || value["request"] == id;
            let is_named = spans.iter().any(names) || names(&parsed["fields"]);
            assert!(is_named, "{id}: {line}");
            lines += 1;
            told |= line.contains(says);
        }
        println!("{id}: {lines} lines");
        assert!(told, "{id}: {says:?} is not in {}", &text[before..]);
    }
    let list = host.get("/api/v1/databases").await.expect(200);
    destroy(&host, list[0]["id"].as_str().unwrap()).await;
}

/// Every line of the log that was written within an operation carries its id and that of its request.
fn lines_name_their_operation(data: &DataDir, operation: &str, request: &str) {
    let log = fs::read_to_string(data.path().join("host.log")).unwrap();
    let mut within = 0;
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect(line);
        let spans = line["spans"].as_array().cloned().unwrap_or_default();
        for span in spans.iter().filter(|span| span["name"] == "operation") {
            assert!(
                span["id"].is_string() && span["request"].is_string(),
                "{line}"
            );
            if span["id"] == operation {
                assert_eq!(span["request"], request, "{line}");
                within += 1;
            }
        }
    }
    assert!(within >= 1, "{log}");
}

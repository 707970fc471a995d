//! A call into a plugin in a fresh sandbox, beside the same over gRPC to a subprocess and beside a plain call.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use berth::model::InstanceId;
use berth::model::instance::{Name, Spec};
use berth::model::resources::{GIB, NodeSize};
use berth::runtime::{
    Engine, InstanceBounds, Limits, OnCall, Plugins, Programs, Runtime, RuntimeConfig,
};

use crate::grpc::{self, Planner};
use crate::host::{binary, directory};
use crate::stats::{Samples, measure, measure_async, show};
use crate::table::Table;

const TIMES: usize = 20_000;
const LONGEST: Duration = Duration::from_micros(45);

pub async fn run() {
    let folder = directory();
    let engine = engine(folder.path()).await;
    let (id, spec) = (InstanceId::generate(), spec());
    let record = record(&spec);
    let bytes = prost::Message::encoded_len(&record);

    let workload = engine.plan(id, &spec).await.expect("planned");
    assert_eq!(
        workload.members[0].main.env, spec.settings,
        "the plugin gives back what it got"
    );
    let mut planner = Planner::start(&folder.path().join("grpc.sock")).await;
    assert_eq!(
        planner.plan(record.clone()).await,
        grpc::plan(record.clone())
    );

    // One after the other, twice, so that a slow moment of the machine shows.
    let component = measure_async(TIMES, async || engine.plan(id, &spec).await).await;
    let over_grpc = measure_async(TIMES, async || planner.plan(record.clone()).await).await;
    let plain = measure(TIMES, || {
        std::hint::black_box(grpc::plan(std::hint::black_box(&record).clone()));
    });
    let component_again = measure_async(TIMES, async || engine.plan(id, &spec).await).await;

    let title =
        format!("a plugin plans a workload: a record of {bytes} bytes in, about as much out");
    let mut table = Table::new(&title, &["how", "min", "median", "p99"]);
    table.row(cells("component, a fresh sandbox each", &component));
    table.row(cells(
        "component, a fresh sandbox each, again",
        &component_again,
    ));
    table.row(cells(
        "gRPC to a subprocess (tonic, unix socket)",
        &over_grpc,
    ));
    table.row(cells("plain Rust call", &plain));
    table.note(
        "the component's call includes both conversions and the checks of what came back".into(),
    );
    table.target(
        component.median().min(component_again.median()) <= LONGEST,
        "a median of at most 45 µs",
    );
    table.print(folder.path());
}

/// The fixture of the tests, which gives settings back as environment.
async fn engine(folder: &std::path::Path) -> Arc<dyn Engine> {
    let plugins_dir = folder.join("plugins-in");
    std::fs::create_dir(&plugins_dir).expect("a directory");
    let built = binary().with_file_name("../wasm32-wasip2/plugin/fixture_engine.wasm");
    std::fs::copy(&built, plugins_dir.join("probe.wasm"))
        .unwrap_or_else(|error| panic!("{}: {error}", built.display()));
    let runtime = Runtime::open(RuntimeConfig {
        storage: BTreeMap::new(),
        data_dir: folder.to_owned(),
        plugins_dir,
        grants: BTreeMap::<String, BTreeSet<_>>::new(),
        programs: Programs::default(),
        limits: Limits::default(),
        compile_threads: 1,
        berth_exe: binary(),
        bounds: InstanceBounds::default(),
        on_call: OnCall::default(),
    })
    .await
    .expect("the runtime opens");
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match runtime.engine("probe") {
            Ok(engine) => return engine,
            Err(error) => assert!(Instant::now() < deadline, "{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn spec() -> Spec {
    let settings = (0..20).map(|n| (format!("setting_{n:02}"), format!("{n:032}")));
    let long = ("setting_long".to_owned(), "x".repeat(1024));
    Spec {
        name: Name::parse("a-record").expect("a name"),
        engine: "probe".into(),
        version: "1".into(),
        size: NodeSize {
            cpu_millis: 1000,
            memory_bytes: GIB,
        },
        storage_gb: 10,
        replicas: 1,
        shards: 1,
        user: None,
        database: None,
        settings: [("do".to_owned(), "echo".to_owned())]
            .into_iter()
            .chain(settings)
            .chain([long])
            .collect(),
        init_settings: Vec::new(),
    }
}

fn record(spec: &Spec) -> grpc::Spec {
    grpc::Spec {
        id: InstanceId::generate().to_string(),
        name: spec.name.as_str().into(),
        slug: spec.name.slug(),
        version: spec.version.clone(),
        cpu_millis: spec.size.cpu_millis,
        memory_bytes: spec.size.memory_bytes,
        storage_bytes: u64::from(spec.storage_gb) * GIB,
        settings: spec
            .settings
            .iter()
            .map(|(name, value)| grpc::Setting {
                name: name.clone(),
                value: value.clone(),
            })
            .collect(),
    }
}

fn cells(name: &str, samples: &Samples) -> [String; 4] {
    [
        name.to_owned(),
        show(samples.min()),
        show(samples.median()),
        show(samples.quantile(0.99)),
    ]
}

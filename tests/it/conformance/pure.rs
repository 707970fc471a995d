//! What an engine says without a server: the same each time, sound, and no to what is wrong.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use berth::model::instance::{Name, SHARDS, Spec};
use berth::model::plugin::EngineDescription;
use berth::model::resources::NodeSize;
use berth::model::setting::SettingKind;
use berth::model::{InstanceId, Kind};
use berth::runtime::{Engine, Plugins, Runtime, RuntimeConfig};
use berth_tests::real::berth_binary;

use super::{Suite, suites};
use crate::runtime::Place;

#[tokio::test]
async fn plans_are_pure_and_say_no_to_what_is_wrong() {
    for suite in suites() {
        let runtime = opened(&suite.engine).await;
        let engine = runtime.1.engine(&suite.engine).unwrap();
        description(&suite, engine.description());
        for version in &engine.description().versions {
            plans(&engine, &version.label).await;
            shards(&engine, &version.label).await;
        }
        refusals(&engine, &suite.version).await;
    }
}

/// As it is built for the tests.
async fn opened(engine: &str) -> (Place, Runtime) {
    let file = format!("{engine}.wasm");
    let built = berth_binary().parent().unwrap().join("plugins").join(&file);
    let bytes = std::fs::read(&built).unwrap_or_else(|e| panic!("{}: {e}", built.display()));
    let place = Place::with(&[(&file, &bytes)]);
    let mut config: RuntimeConfig = place.config();
    config.limits = Default::default();
    config.berth_exe = Path::new("/proc/self/exe").to_owned();
    let runtime = place.open_with(config).await;
    (place, runtime)
}

fn description(suite: &Suite, described: &EngineDescription) {
    assert_eq!(described.name, suite.engine);
    let labels: BTreeSet<_> = described.versions.iter().map(|v| &*v.label).collect();
    assert!(labels.contains(&*suite.version), "{labels:?}");
    for version in &described.versions {
        for goal in &version.upgrades_to {
            assert!(
                labels.contains(&**goal),
                "{}: upgrades to {goal}",
                version.label
            );
        }
        assert!(version.released < version.end_of_life, "{}", version.label);
        assert!(!version.programs.is_empty(), "{}", version.label);
        for schema in &version.settings {
            schema.check(&schema.default).unwrap();
        }
    }
}

fn spec(engine: &str, version: &str, memory_bytes: u64) -> Spec {
    Spec {
        name: Name::parse("Conformance").unwrap(),
        engine: engine.into(),
        version: version.into(),
        size: NodeSize {
            cpu_millis: 1000,
            memory_bytes,
        },
        storage_gb: 10,
        replicas: 1,
        shards: 1,
        user: None,
        database: None,
        settings: Vec::new(),
        init_settings: Vec::new(),
    }
}

/// Divided over as many shards as there can be, or refused for that alone.
async fn shards(engine: &Arc<dyn Engine>, label: &str) {
    let described = engine.description();
    let id = InstanceId::generate();
    let mut wanted = spec(
        &described.name,
        label,
        described.minimum_memory_bytes.max(1 << 30),
    );
    wanted.shards = *SHARDS.end();
    let shards = usize::try_from(wanted.shards).unwrap();
    match engine.validate(id, &wanted).await {
        Ok(()) => {
            let plan = engine.plan(id, &wanted).await.unwrap();
            let clients = plan.endpoints.iter().filter(|e| !e.for_members);
            let behind: BTreeSet<_> = clients.map(|e| &e.member).collect();
            assert_eq!((plan.members.len(), behind.len()), (shards, shards));
        }
        Err(error) => match error.kind {
            Kind::Invalid(problems) => {
                let fields: Vec<_> = problems.iter().map(|p| &*p.field).collect();
                assert_eq!(fields, ["shards"]);
            }
            kind => panic!("{kind:?}"),
        },
    }
}

/// The same twice, the programs that the version lists and no others, and other settings make another one.
async fn plans(engine: &Arc<dyn Engine>, label: &str) {
    let described = engine.description();
    let id = InstanceId::generate();
    for memory in [1, 4, 64] {
        let memory = described.minimum_memory_bytes.max(1 << 30) * memory;
        let mut wanted = spec(&described.name, label, memory);
        engine.validate(id, &wanted).await.unwrap();
        let plan = engine.plan(id, &wanted).await.unwrap();
        assert_eq!(plan, engine.plan(id, &wanted).await.unwrap(), "{label}");
        let version = described
            .versions
            .iter()
            .find(|v| v.label == label)
            .unwrap();
        for member in &plan.members {
            let init = member.init.iter().flat_map(|init| &init.tasks);
            for command in init.chain([&member.main]) {
                assert!(
                    version.programs.contains(&command.program),
                    "{}",
                    command.program
                );
            }
        }
        // One that can be chosen shows in the plan: nothing else brings it to the server.
        let chosen = version
            .settings
            .iter()
            .find_map(|schema| match &schema.kind {
                SettingKind::Integer { minimum, .. }
                    if !schema.init_only && minimum.to_string() != schema.default =>
                {
                    Some((schema.name.clone(), minimum.to_string()))
                }
                _ => None,
            });
        wanted.settings.extend(chosen);
        if !wanted.settings.is_empty() {
            assert_ne!(plan, engine.plan(id, &wanted).await.unwrap(), "{label}");
        }
        let login = engine.first_login(id, &wanted).await.unwrap();
        let asked: Vec<_> = plan.secrets.iter().map(|s| &*s.name).collect();
        assert!(asked.contains(&&*login.secret), "{label}: {asked:?}");
    }
}

async fn refusals(engine: &Arc<dyn Engine>, version: &str) {
    let described = engine.description();
    let good = spec(&described.name, version, described.minimum_memory_bytes);
    let id = InstanceId::generate();
    let refused = async |change: &dyn Fn(&mut Spec), what: &str| {
        let mut wrong = good.clone();
        change(&mut wrong);
        for answer in [
            engine.validate(id, &wrong).await,
            engine.plan(id, &wrong).await.map(drop),
        ] {
            let error = answer.expect_err(what);
            assert!(matches!(error.kind, Kind::Invalid(_)), "{what}: {error:?}");
        }
    };
    engine.validate(id, &good).await.unwrap();
    refused(
        &|spec| spec.version = "0.0".into(),
        "a version that is none",
    )
    .await;
    refused(&|spec| spec.size.memory_bytes -= 1, "too little memory").await;
    let chosen = ("no_such_setting".to_owned(), "1".to_owned());
    refused(&|spec| spec.settings = vec![chosen.clone()], "no setting").await;
    // Reserved names are the host's to refuse, by the description.
    refused(&|spec| spec.user = Some("a b'\"\n".into()), "no name").await;
}

//! What may not become live: each with its reason, beside the old build that stays.

use berth::runtime::{Ending, OnCall};
use berth_tests::hostile::components::Component;

use super::*;

const MANIFEST: &str = include_str!("../../../fixtures/engine/plugin.toml");
const TARGET_MANIFEST: &str = include_str!("../../../fixtures/target/plugin.toml");

/// The component with another text in the place of one, as long as that.
fn edited(mut bytes: Vec<u8>, from: &str, to: &str) -> Vec<u8> {
    assert!(to.len() <= from.len(), "{to:?} is longer than {from:?}");
    let to = format!("{to:<width$}", width = from.len());
    let mut edits = 0;
    while let Some(at) = bytes
        .windows(from.len())
        .position(|window| window == from.as_bytes())
    {
        bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
        edits += 1;
    }
    assert!(edits > 0, "{from:?} is not in the component");
    bytes
}

/// A component with this manifest and nothing else.
fn hollow(manifest: &str) -> Vec<u8> {
    const NAME: &str = "berth:manifest";
    // Long enough for a length of two bytes in LEB128.
    let manifest = format!("{manifest}{}", "\n".repeat(128));
    let length = 1 + NAME.len() + manifest.len();
    assert!((128..16_384).contains(&length), "{length}");
    let mut bytes = b"\0asm\x0d\0\x01\0\0".to_vec();
    bytes.extend([(length & 0x7f) as u8 | 0x80, (length >> 7) as u8]);
    bytes.push(NAME.len() as u8);
    bytes.extend(NAME.as_bytes());
    bytes.extend(manifest.as_bytes());
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_build_is_refused_with_its_reason_and_the_old_one_stays() {
    let good = build(0);
    let place = Place::with(&[(FILE, &good)]);
    let runtime = place.watch(&Arc::new(Book::default()), EAGER).await;
    let before = becomes_live(&runtime, &good).await;
    let since = status(&runtime, FILE).unwrap().since;

    let older = MANIFEST.replace("contract = \"0.1.0\"", "contract = \"0.0.9\"");
    let renamed = MANIFEST.replace("name = \"probe\"\n", "name = \"prune\"\n");
    let unversioned = MANIFEST.replace("version = \"0.1.0\"", "capabilities=[ ]#");
    assert!(older != MANIFEST && renamed != MANIFEST && unversioned != MANIFEST);
    let cases = [
        ("half of it", good[..good.len() / 2].to_vec(), "not a valid"),
        ("nothing", Vec::new(), "not a valid"),
        ("a text", b"a text".to_vec(), "not a valid"),
        (
            "a module",
            b"\0asm\x01\0\0\0".to_vec(),
            "core WebAssembly module",
        ),
        ("no manifest", b"\0asm\x0d\0\x01\0".to_vec(), "no manifest"),
        (
            "an older contract",
            edited(build(1), MANIFEST, &older),
            "contract",
        ),
        (
            "no version",
            edited(build(2), MANIFEST, &unversioned),
            "version",
        ),
        (
            "another name",
            edited(build(3), MANIFEST, &renamed),
            "file of its own",
        ),
        (
            "a describe that makes no sense",
            edited(build(4), "2034-01-01", "2034-99-01"),
            "dates",
        ),
        ("no exports", hollow(MANIFEST), "does not export"),
    ];
    for (what, bytes, piece) in cases {
        let digest = Builds::digest_of(&bytes);
        place.put(FILE, &bytes);
        wait_for(what, async || match attempt(&runtime)?.state {
            PluginState::Refused(reason) => reason.contains(piece).then_some(()),
            PluginState::Compiling | PluginState::Ready | PluginState::Removed(_) => None,
        })
        .await;
        let status = status(&runtime, FILE).unwrap();
        assert_eq!(status.state, PluginState::Ready, "{what}");
        assert_eq!(status.digest.as_ref(), Some(&before), "{what}");
        assert_eq!(status.since, since, "{what}");
        if let Some(shown) = status.attempt.unwrap().digest {
            assert_eq!(shown, digest, "{what}");
        }
        assert_eq!(live(&runtime), Some(before.clone()), "{what}");
        works(&runtime).await;
        wait_for("what is not taken not to be kept", async || {
            (place.kept(&digest) == 0).then_some(())
        })
        .await;
    }
    // What was refused stands in nobody's way.
    place.put(FILE, &build(9));
    becomes_live(&runtime, &build(9)).await;
    assert!(attempt(&runtime).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_asks_for_more_than_is_granted_is_refused() {
    let place = Place::with_fixtures();
    let runtime = place.watch(&Arc::new(Book::default()), EAGER).await;
    let before = target(&runtime).digest().clone();
    let hungry = TARGET_MANIFEST
        .replace(" = ", "=")
        .replace("[\"files\"]", "[\"files\",\"process\"]")
        .replace("0.1.0", "0.1");
    let hungry = edited(fixture::target(), TARGET_MANIFEST, &hungry);
    place.put("paper.wasm", &hungry);
    let shown = wait_for("a refusal", async || {
        let shown = status(&runtime, "paper.wasm")?;
        let attempt = shown.attempt.clone()?;
        matches!(attempt.state, PluginState::Refused(_)).then_some(shown)
    })
    .await;
    let PluginState::Refused(reason) = shown.attempt.unwrap().state else {
        unreachable!("it was refused a moment ago");
    };
    assert!(
        reason.contains("`process`") && reason.contains("does not grant"),
        "{reason}"
    );
    assert_eq!(*target(&runtime).digest(), before);
    drop(runtime);

    // Granted, it is taken.
    let mut config = place.config();
    config.grants.insert(
        "paper".into(),
        BTreeSet::from([Capability::Files, Capability::Process]),
    );
    let runtime = place.open_with(config).await;
    assert_eq!(*target(&runtime).digest(), Builds::digest_of(&hungry));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_does_not_know_a_running_version_waits_until_it_is_gone() {
    let place = Place::with(&[(FILE, &build(0))]);
    let book = Arc::new(Book::default());
    let runtime = place.watch(&book, EAGER).await;
    let before = becomes_live(&runtime, &build(0)).await;
    let alias = book.enter(&before, "9");
    place.put(FILE, &build(1));
    let reason = refused(&runtime).await;
    assert!(
        reason.contains("version 9") && reason.contains(&alias),
        "{reason}"
    );
    assert_eq!(live(&runtime), Some(before));
    book.clear();
    becomes_live(&runtime, &build(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_does_not_answer_holds_up_no_other() {
    let place = Place::with(&[(FILE, &build(0))]);
    let mut config = place.config();
    config.compile_threads = 1;
    // Longer than the test may take: were it waited for, the test would fail.
    config.limits.compute = PATIENCE * 2;
    let runtime = watched(config).await;
    becomes_live(&runtime, &build(0)).await;
    let endless = Component::EndlessDescription.bytes();
    place.put("hostile.wasm", &endless);
    wait_for("it to be compiled", async || {
        (place.kept(&Builds::digest_of(&endless)) > 0).then_some(())
    })
    .await;
    place.put(FILE, &build(1));
    becomes_live(&runtime, &build(1)).await;
    works(&runtime).await;
    let state = status(&runtime, "hostile.wasm").unwrap().state;
    assert_eq!(state, PluginState::Compiling);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_did_not_answer_in_time_is_asked_again() {
    let endless = Component::EndlessDescription.bytes();
    let place = Place::with(&[]);
    let late = Arc::new(AtomicUsize::new(0));
    let mut config = place.config();
    config.limits.compute = Duration::from_millis(50);
    let count = Arc::clone(&late);
    config.on_call = OnCall::new(move |called| {
        if (called.function, called.ending) == ("describe", Ending::Late) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    let runtime = watched(config).await;
    place.put("hostile.wasm", &endless);
    // Nothing about the file changes, so once is all it would be asked if it were refused for good.
    wait_for("it to be asked again", async || {
        (late.load(Ordering::Relaxed) > 2).then_some(())
    })
    .await;
    let state = status(&runtime, "hostile.wasm").unwrap().state;
    let PluginState::Refused(reason) = state else {
        panic!("it is {state:?}");
    };
    assert!(reason.contains("did not answer within"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_defect_while_a_build_is_described_refuses_it_and_the_old_one_stays() {
    let place = Place::with(&[(FILE, &build(0))]);
    let defective = Arc::new(AtomicBool::new(false));
    let mut config = place.config();
    let armed = Arc::clone(&defective);
    config.on_call = OnCall::new(move |called| {
        if called.function == "describe" && armed.load(Ordering::Relaxed) {
            // Without the hook, which would print it each time.
            std::panic::resume_unwind(Box::new("what only the log may say"));
        }
    });
    let runtime = watched(config).await;
    let before = becomes_live(&runtime, &build(0)).await;
    defective.store(true, Ordering::Relaxed);
    place.put(FILE, &build(1));
    let reason = refused(&runtime).await;
    assert_eq!(reason, "loading it ended in a defect of berth's");
    assert_eq!(live(&runtime), Some(before));
    works(&runtime).await;
    // Nor is it for ever on its way for who asks for just this build.
    let new = Builds::digest_of(&build(1));
    wait_for("the build to be refused", async || {
        let told = runtime.engine_build(&new).err()?;
        told.public().contains("cannot be loaded").then_some(())
    })
    .await;
    // It may have been this time only.
    defective.store(false, Ordering::Relaxed);
    becomes_live(&runtime, &build(1)).await;
}

async fn watched(config: RuntimeConfig) -> Runtime {
    let runtime = Runtime::watch(config, Arc::new(Book::default()) as _, EAGER).await;
    let runtime = runtime.unwrap();
    runtime.settled().await;
    runtime
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_cannot_be_kept_is_not_taken_until_it_can() {
    let place = Place::with(&[(FILE, &build(0))]);
    let runtime = place.watch(&Arc::new(Book::default()), EAGER).await;
    let before = becomes_live(&runtime, &build(0)).await;
    // In the place of its kept copy: as much in the way as a full disk is.
    let digest = Builds::digest_of(&build(1));
    let obstacle = place.data().join(format!("plugins/{digest}.wasm"));
    std::fs::create_dir_all(obstacle.join("full")).unwrap();
    place.put(FILE, &build(1));
    let reason = refused(&runtime).await;
    assert!(reason.contains("cannot be kept"), "{reason}");
    assert_eq!(live(&runtime), Some(before));
    std::fs::remove_dir_all(obstacle).unwrap();
    becomes_live(&runtime, &build(1)).await;
    assert!(place.kept(&digest) > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn new_files_are_new_plugins_and_a_name_is_one_files() {
    let place = Place::with(&[(FILE, &build(0))]);
    let runtime = place.watch(&Arc::new(Book::default()), EAGER).await;
    assert!(runtime.target("paper").is_err());
    place.put("paper.wasm", &fixture::target());
    wait_for("the target", async || runtime.target("paper").ok()).await;

    place.put("another.wasm", &build(1));
    let reason = wait_for("a refusal", async || {
        match status(&runtime, "another.wasm")?.state {
            PluginState::Refused(reason) => Some(reason),
            PluginState::Compiling | PluginState::Ready | PluginState::Removed(_) => None,
        }
    })
    .await;
    assert!(reason.contains(FILE), "{reason}");
    assert_eq!(live(&runtime), Some(Builds::digest_of(&build(0))));
    // Then the name is free.
    std::fs::remove_file(place.plugins().join(FILE)).unwrap();
    becomes_live(&runtime, &build(1)).await;
    assert!(status(&runtime, FILE).is_none());
}

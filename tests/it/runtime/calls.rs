//! Every call is told of once, with how it ended.

use std::collections::BTreeMap;
use std::sync::Mutex;

use berth::runtime::Ending;
use futures::FutureExt;

use super::*;

type Told = Arc<Mutex<BTreeMap<(String, &'static str, &'static str), usize>>>;

#[tokio::test(flavor = "multi_thread")]
async fn every_call_is_told_of_once_with_how_it_ended() {
    let place = Place::with_fixtures();
    let told_of: Told = Arc::default();
    let book = told_of.clone();
    let on_call = OnCall::new(move |called| {
        let key = (
            called.plugin.to_owned(),
            called.function,
            called.ending.as_str(),
        );
        *book.lock().unwrap().entry(key).or_default() += 1;
    });
    let config = RuntimeConfig {
        on_call,
        ..place.config()
    };
    let runtime = place.open_with(config).await;
    let engine = engine(&runtime);
    let id = InstanceId::generate();
    engine.validate(id, &told("nothing")).await.unwrap();
    engine.validate(id, &told("nothing")).await.unwrap();
    engine.validate(id, &told("panic")).await.unwrap_err();
    engine.validate(id, &told("spin")).await.unwrap_err();
    // Nobody waits for it to its end.
    let spec = told("spin");
    assert!(engine.validate(id, &spec).now_or_never().is_none());
    let told_of = told_of.lock().unwrap().clone();
    let count = |function, ending: Ending| {
        let key = ("probe".to_owned(), function, ending.as_str());
        told_of.get(&key).copied().unwrap_or(0)
    };
    // Asked twice when it is loaded: the answer must not change.
    assert_eq!(count("describe", Ending::Answered), 2, "{told_of:?}");
    assert_eq!(count("validate", Ending::Answered), 2, "{told_of:?}");
    assert_eq!(count("validate", Ending::Broken), 1, "{told_of:?}");
    assert_eq!(count("validate", Ending::Late), 1, "{told_of:?}");
    assert_eq!(count("validate", Ending::GivenUp), 1, "{told_of:?}");
}

//! Sessions that are kept from call to call: when a call goes on with one, and when not. The fixture engine counts the
//! calls that it remembers.

use berth::model::Result;
use berth::model::user::UserChange;
use tokio::io::AsyncReadExt;
use tokio::net::{UnixListener, UnixStream};

use super::*;

fn about(id: InstanceId) -> InstanceContext {
    instance(id, "remember", Dial::Unix("probe.sock".into()))
}

fn anybody() -> InstanceContext {
    about(InstanceId::generate())
}

/// How many calls the session of this instance remembers, this one among them.
async fn calls(engine: &dyn Engine, context: &InstanceContext) -> u32 {
    let listed = engine.users().unwrap().list_users(context).await.unwrap();
    listed[0].name.parse().unwrap()
}

/// A call that does what the name says.
async fn tell(engine: &dyn Engine, context: &InstanceContext, what: &str) -> Result<()> {
    tell_with(engine, context, what, "nothing-to-hide").await
}

async fn tell_with(
    engine: &dyn Engine,
    context: &InstanceContext,
    what: &str,
    password: &str,
) -> Result<()> {
    let password = Secret::new(password);
    let users = engine.users().unwrap();
    let made = users.create_user(context, what, &password, false).await;
    made.map(drop)
}

impl Place {
    async fn open_keeping(&self, change: impl FnOnce(&mut Limits)) -> Runtime {
        let mut config = self.config();
        change(&mut config.limits);
        self.open_with(config).await
    }
}

/// Where the instance's member would listen.
fn listen(runtime: &Runtime, id: InstanceId) -> UnixListener {
    let scope = runtime.directories().of(id, None);
    scope.prepare().unwrap();
    UnixListener::bind(scope.run_dir.join("probe.sock")).unwrap()
}

async fn until_closed(mut stream: UnixStream) {
    let mut byte = [0];
    let closed = tokio::time::timeout(berth_tests::wait::PATIENCE, stream.read(&mut byte));
    assert_eq!(closed.await.unwrap().unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_one_instances_and_no_others() {
    let place = Place::with_fixtures();
    let runtime = place.open().await;
    let engine = engine(&runtime);
    let (one, other) = (anybody(), anybody());
    for n in 1..=50 {
        assert_eq!(calls(&*engine, &one).await, n);
    }
    assert_eq!(calls(&*engine, &other).await, 1);
    // Whichever call of the ability it is.
    tell(&*engine, &one, "ann").await.unwrap();
    assert_eq!(calls(&*engine, &one).await, 52);
    assert_eq!(calls(&*engine, &other).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_does_not_go_well_is_the_end_of_the_session() {
    let place = Place::with_fixtures();
    let runtime = place
        .open_keeping(|limits| limits.talk = Duration::from_millis(1500))
        .await;
    let engine = engine(&runtime);
    let id = InstanceId::generate();
    let listener = listen(&runtime, id);
    let it = about(id);
    for what in ["fail", "panic", "connect and sleep"] {
        calls(&*engine, &it).await;
        assert!(calls(&*engine, &it).await >= 2);
        tell(&*engine, &it, what).await.unwrap_err();
        assert_eq!(calls(&*engine, &it).await, 1, "{what}");
    }
    until_closed(listener.accept().await.unwrap().0).await;
    // What it answers is not what was asked.
    calls(&*engine, &it).await;
    let lie = tell(&*engine, &it, "lie").await.unwrap_err();
    assert!(lie.public().contains("was refused"), "{lie:?}");
    assert_eq!(calls(&*engine, &it).await, 1);

    // Nobody waits for it any more.
    let given_up = tell(&*engine, &it, "connect and sleep");
    let begun = listener.accept();
    let stream = tokio::select! {
        _ = given_up => panic!("it sleeps"),
        begun = begun => begun.unwrap().0,
    };
    until_closed(stream).await;
    assert_eq!(calls(&*engine, &it).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_not_for_what_changed() {
    let place = Place::with_fixtures();
    let runtime = place.open().await;
    let engine = engine(&runtime);
    let it = anybody();
    let secrets = |value: &str| Secrets::from([("app".to_owned(), Secret::new(value))]);
    let changed = [
        InstanceContext {
            secrets: secrets("another-password"),
            ..it.clone()
        },
        InstanceContext {
            spec: spec(&[("do", "remember"), ("size", "9")]),
            ..it.clone()
        },
        InstanceContext {
            endpoints: vec![endpoint(4101)],
            ..it.clone()
        },
        InstanceContext {
            dials: instance(it.id, "", Dial::Unix("other.sock".into())).dials,
            ..it.clone()
        },
    ];
    for changed in changed {
        assert_eq!(calls(&*engine, &it).await, 1);
        assert_eq!(calls(&*engine, &it).await, 2);
        assert_eq!(calls(&*engine, &changed).await, 1, "{changed:?}");
        assert_eq!(calls(&*engine, &changed).await, 2, "{changed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_to_an_instance_ends_its_session() {
    let place = Place::with_fixtures();
    let runtime = place.open().await;
    let (engine, target) = (engine(&runtime), target(&runtime));
    let (it, other) = (anybody(), anybody());
    let deployment = deployment(it.id, "nothing");
    let mut others = calls(&*engine, &other).await;
    for event in 0..6 {
        calls(&*engine, &it).await;
        assert_eq!(calls(&*engine, &it).await, 2, "{event}");
        // What comes of it does not matter.
        let _ = match event {
            0 => target.apply(&deployment).await,
            1 => target.stop(&deployment).await,
            2 => target.start(&deployment).await,
            3 => target.remove(&deployment).await,
            4 => {
                let login = engine.first_login(it.id, &it.spec).await.unwrap();
                let password = Secret::new("another-password");
                engine.rotate(&it, &login, &password).await
            }
            _ => engine.settings().unwrap().reload(&it).await.map(drop),
        };
        assert_eq!(calls(&*engine, &it).await, 1, "{event}");
        others += 1;
        assert_eq!(calls(&*engine, &other).await, others, "{event}");
        runtime.directories().of(it.id, None).prepare().unwrap();
        tell(&*engine, &it, "fail").await.unwrap_err();
    }

    // Also that of a call that is under way.
    let listener = listen(&runtime, it.id);
    let (going, began) = (it.clone(), Arc::clone(&engine));
    let call = tokio::spawn(async move { tell(&*began, &going, "connect").await });
    let (stream, _) = listener.accept().await.unwrap();
    target.stop(&deployment).await.unwrap();
    call.await.unwrap().unwrap();
    // Either it was over before that, or it left nothing: the next one begins anew.
    until_closed(stream).await;
    assert_eq!(calls(&*engine, &it).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_idle_ends() {
    let place = Place::with_fixtures();
    let runtime = place
        .open_keeping(|limits| limits.idle = Duration::from_millis(200))
        .await;
    let id = InstanceId::generate();
    let listener = listen(&runtime, id);
    let it = about(id);
    // More than once: who looks for them goes on when there is one again.
    for _ in 0..2 {
        tell(&*engine(&runtime), &it, "connect").await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        until_closed(stream).await;
        assert_eq!(calls(&*engine(&runtime), &it).await, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_one_that_was_idle_longest_makes_room() {
    let place = Place::with_fixtures();
    let runtime = place.open_keeping(|limits| limits.kept = 2).await;
    let engine = engine(&runtime);
    let [one, two, three] = [(); 3].map(|()| anybody());
    for it in [&one, &two, &three] {
        assert_eq!(calls(&*engine, it).await, 1);
    }
    assert_eq!(calls(&*engine, &two).await, 2);
    assert_eq!(calls(&*engine, &three).await, 2);
    assert_eq!(calls(&*engine, &one).await, 1);
    assert_eq!(calls(&*engine, &three).await, 3);
    assert_eq!(calls(&*engine, &two).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn none_is_kept_where_none_is_wanted() {
    let place = Place::with_fixtures();
    let runtime = place.open_keeping(|limits| limits.kept = 0).await;
    let it = anybody();
    for _ in 0..3 {
        assert_eq!(calls(&*engine(&runtime), &it).await, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_does_not_wait_for_one_that_hangs() {
    let place = Place::with_fixtures();
    let runtime = place.open().await;
    let engine = engine(&runtime);
    let id = InstanceId::generate();
    let listener = listen(&runtime, id);
    let it = about(id);
    assert_eq!(calls(&*engine, &it).await, 1);
    let (hung, its) = (Arc::clone(&engine), it.clone());
    let hung = tokio::spawn(async move { tell(&*hung, &its, "connect and sleep").await });
    let (stream, _) = listener.accept().await.unwrap();
    for _ in 0..3 {
        assert_eq!(calls(&*engine, &it).await, 1, "it is kept beside another");
    }
    hung.abort();
    until_closed(stream).await;
    assert_eq!(calls(&*engine, &it).await, 1);
    assert_eq!(calls(&*engine, &it).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_at_the_same_time_share_a_session_one_after_the_other() {
    let place = Place::with_fixtures();
    let runtime = place.open().await;
    let engine = engine(&runtime);
    let it = anybody();
    let all = (0..20).map(|_| calls(&*engine, &it));
    let counted = futures::future::join_all(all).await;
    // On a machine that is slower than the patience of those who wait, some have one of their own.
    let most = *counted.iter().max().unwrap();
    assert!(most > 1, "{counted:?}");
    assert_eq!(calls(&*engine, &it).await, most + 1, "{counted:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_call_was_told_is_not_said_in_a_later_one() {
    let place = Place::with_fixtures();
    let runtime = place.open().await;
    let engine = engine(&runtime);
    let it = anybody();
    let told = "S3cret-of-an-earlier-call";
    tell_with(&*engine, &it, "remember", told).await.unwrap();
    let change = UserChange::default();
    let users = engine.users().unwrap();
    users.change_user(&it, "bob", &change).await.unwrap();
    let said = tell(&*engine, &it, "say").await.unwrap_err();
    assert_eq!(said.public(), "it was [secret]", "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_hoards_from_call_to_call() {
    let place = Place::with_fixtures();
    let runtime = place.open().await;
    let engine = engine(&runtime);
    let id = InstanceId::generate();
    let listener = listen(&runtime, id);
    let it = about(id);
    assert_eq!(calls(&*engine, &it).await, 1);
    tell(&*engine, &it, "hoard").await.unwrap();
    assert_eq!(calls(&*engine, &it).await, 1, "9 MiB");
    let mut streams = Vec::new();
    for _ in 0..5 {
        tell(&*engine, &it, "connect").await.unwrap();
        streams.push(listener.accept().await.unwrap().0);
    }
    assert_eq!(calls(&*engine, &it).await, 1, "five connections");
    for stream in streams {
        until_closed(stream).await;
    }
    // Secrets that it would have to be kept from saying.
    let mut last = calls(&*engine, &it).await;
    let mut began_anew = false;
    for n in 0..70 {
        let password = format!("Password-number-{n}");
        tell_with(&*engine, &it, "ann", &password).await.unwrap();
        let now = calls(&*engine, &it).await;
        began_anew |= now < last;
        last = now;
    }
    assert!(began_anew);
}

//! It ends what it started, and what that started.

use std::fs;
use std::time::{Duration, Instant};

use berth_bindings::target::berth::plugin::process::{Host, State};
use berth_tests::wait_for;

use super::stand::{MEMBER, SERVE, Stand, filled_service, service};

#[tokio::test]
async fn a_stopped_member_stays_stopped_until_it_is_started() {
    let stand = Stand::new();
    let script = "trap 'echo asked >> ends; exit 0' TERM; tail -f /dev/null & wait";
    stand.ensure(&service(script)).await;
    wait_for("the script to wait", async || {
        stand
            .processes()
            .iter()
            .any(|p| p.args[0] == "tail")
            .then_some(())
    })
    .await;
    stand.stop().await;
    stand.stop().await;
    stand.wait_stopped().await;
    // The child that the script left goes too, and so does the shim.
    assert!(stand.processes().is_empty());
    assert_eq!(stand.read("ends"), "asked\n");
    assert!(matches!(stand.inspect().await.0, State::Stopped));
    assert!(stand.processes().is_empty(), "a look starts nothing");
    stand.capability().start(MEMBER.into()).await.unwrap();
    stand
        .wait_state("it to run again", |state| {
            matches!(state, State::Running(_)).then_some(())
        })
        .await;
    assert_eq!(stand.inspect().await.1, 0, "a stop is no restart");
}

#[tokio::test]
async fn one_that_does_not_listen_is_killed_after_its_grace() {
    let stand = Stand::new();
    let script = "trap '' TERM; setsid sh -c 'trap \"\" TERM; exec tail -f /dev/null' & exec tail -f /dev/null";
    let mut service = service(script);
    service.stop_grace_ms = 300;
    stand.ensure(&service).await;
    stand.wait_running().await;
    let asked = Instant::now();
    stand.stop().await;
    stand.wait_stopped().await;
    assert!(asked.elapsed() >= Duration::from_millis(300));
    assert!(stand.processes().is_empty());
}

#[tokio::test]
async fn a_stop_reaches_a_member_whose_shim_was_killed() {
    let stand = Stand::new();
    stand.ensure(&service(SERVE)).await;
    stand.wait_running().await;
    stand.shims()[0].kill9();
    stand.stop().await;
    stand.wait_stopped().await;
    assert!(stand.processes().is_empty());
}

#[tokio::test]
async fn a_stop_that_is_cut_short_is_finished() {
    let stand = Stand::new();
    let script = "trap 'echo asked >> ends' TERM; while :; do tail -f /dev/null & wait; done";
    let mut service = service(script);
    service.stop_grace_ms = 500;
    stand.ensure(&service).await;
    wait_for("the script to wait", async || {
        stand
            .processes()
            .iter()
            .any(|p| p.args[0] == "tail")
            .then_some(())
    })
    .await;
    stand.stop().await;
    wait_for("the signal to arrive", async || {
        (!stand.read("ends").is_empty()).then_some(())
    })
    .await;
    for shim in stand.shims() {
        shim.kill9();
    }
    stand.wait_stopped().await;
    assert!(stand.processes().is_empty());
}

#[tokio::test]
async fn a_shim_that_is_asked_to_end_stops_its_server_and_comes_back() {
    let stand = Stand::new();
    stand
        .ensure(&service(
            "trap 'echo asked >> ends; exit 0' TERM; tail -f /dev/null & wait",
        ))
        .await;
    wait_for("the script to wait", async || {
        stand
            .processes()
            .iter()
            .any(|p| p.args[0] == "tail")
            .then_some(())
    })
    .await;
    let shim = stand.shims()[0].pid;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(shim), nix::sys::signal::SIGTERM).unwrap();
    wait_for("all to be gone", async || {
        stand.processes().is_empty().then_some(())
    })
    .await;
    assert_eq!(stand.read("ends"), "asked\n");
    // It is still wanted.
    stand
        .wait_state("it to run again", |state| {
            matches!(state, State::Running(_)).then_some(())
        })
        .await;
}

#[tokio::test]
async fn removing_ends_every_process_whatever_started_it() {
    let stand = Stand::new();
    // One that leaves its session, its parent and, where a user marks it, its directory too.
    let hide = match stand.scope.files.uid {
        Some(_) => "cd / && ",
        None => "",
    };
    let script = format!(
        "{hide} (setsid tail -f /dev/null &) ; cd {}; exec tail -f /dev/null",
        stand.member_dir().display()
    );
    stand.ensure(&service(&script)).await;
    stand
        .wait_state("both to run", |_| {
            let tails = stand
                .processes()
                .iter()
                .filter(|p| p.args[0] == "tail")
                .count();
            (tails == 2).then_some(())
        })
        .await;
    // Its shim is gone, so nobody is its parent any more.
    stand.shims()[0].kill9();
    stand.capability().remove_all().await.unwrap();
    assert!(stand.processes().is_empty());
    assert!(!stand.home().parent().unwrap().exists());
    assert!(matches!(stand.inspect().await.0, State::Absent));
    stand.capability().remove_all().await.unwrap();
    stand.stop().await;
    stand.capability().start(MEMBER.into()).await.unwrap_err();
    assert!(stand.processes().is_empty());
    // Also when the directory is gone by then.
    fs::remove_dir_all(&stand.scope.files.instance_dir).unwrap();
    stand.capability().remove_all().await.unwrap();
    stand
        .capability()
        .ensure(MEMBER.into(), service(SERVE))
        .await
        .unwrap_err();
    assert!(!stand.scope.files.instance_dir.exists());
}

#[tokio::test]
async fn removing_amid_everything_leaves_nothing() {
    let stand = Stand::new();
    let service = filled_service(&["exec tail -f /dev/null"], SERVE);
    for round in 0..5 {
        stand.ensure(&service).await;
        if round % 2 == 1 {
            wait_for("the task to run", async || {
                (!stand.servers().is_empty()).then_some(())
            })
            .await;
        }
        let look = async { stand.capability().inspect(MEMBER.into()).await };
        let (_, removed) = tokio::join!(look, async { stand.capability().remove_all().await });
        removed.unwrap();
        wait_for("all to be gone", async || {
            stand.processes().is_empty().then_some(())
        })
        .await;
        assert!(!stand.home().exists());
    }
}

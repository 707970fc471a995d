//! Kills at random moments, and many starts at once.

use std::time::{Duration, Instant};

use berth_bindings::target::berth::plugin::process::{Host, State};
use berth_tests::wait::elapse;
use berth_tests::wait_for;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::stand::{MEMBER, SERVE, Stand, filled_service, service};

/// Says so when another of its kind lives.
const ALONE: &str = "exec 9>>lock; flock -n 9 || echo second >> doubles; exec tail -f /dev/null";
/// The same of the tasks that fill a volume, and leaves half a content when it is killed.
const FILL: &str = "exec 9>>fill; flock -n 9 || echo second >> doubles; \
    echo a >> volumes/data/a; tail -c 300000 /dev/urandom > volumes/data/b; echo c >> volumes/data/a";

#[derive(Clone, Copy, Debug)]
enum Victim {
    Shim,
    Server,
    Both,
    Launcher,
}

#[tokio::test]
async fn a_storm_of_kills_leaves_one_shim_and_one_server() {
    let seed = std::env::var("BERTH_KILL_SEED").map_or(20_241_121, |text| text.parse().unwrap());
    let rounds = std::env::var("BERTH_STORM_ROUNDS").map_or(60, |text| text.parse().unwrap());
    println!("seed {seed}, {rounds} rounds");
    let mut random = StdRng::seed_from_u64(seed);
    let stand = Stand::new();
    stand.ensure(&filled_service(&[FILL, FILL], ALONE)).await;
    for round in 0..rounds {
        let victim = [Victim::Shim, Victim::Server, Victim::Both, Victim::Launcher]
            .choose(&mut random)
            .copied()
            .unwrap();
        // The moment is what varies; most of them during a start.
        elapse(Duration::from_millis(random.random_range(0..60))).await;
        if matches!(victim, Victim::Shim | Victim::Both) {
            stand.shims().iter().for_each(|p| p.kill9());
        }
        if matches!(victim, Victim::Server | Victim::Both) {
            stand.servers().iter().for_each(|p| p.kill9());
        }
        if matches!(victim, Victim::Launcher) {
            // A host that dies while a shim starts, and its successor that starts one too.
            let mut launcher = stand.launch_shim("");
            elapse(Duration::from_millis(random.random_range(0..15))).await;
            launcher.kill().unwrap();
            launcher.wait().unwrap();
        }
        if random.random_bool(0.7) {
            // An answer may be missing in the midst of it.
            let _ = stand.capability().inspect(MEMBER.into()).await;
        }
        assert!(
            stand.shims().len() <= 2,
            "round {round}: one holds the lock, one may find out"
        );
    }
    stand.wait_running().await;
    wait_for("one shim to be left", async || {
        (stand.shims().len() == 1).then_some(())
    })
    .await;
    assert_eq!(stand.read("doubles"), "");
    assert_eq!(stand.read("volumes/data/a"), "a\nc\na\nc\n");
    let server = stand.servers()[0].clone();
    let killed = Instant::now();
    server.kill9();
    stand.wait_running_but(server.pid).await;
    assert!(
        killed.elapsed() < Duration::from_secs(2),
        "a storm of kills is no crash loop"
    );
    stand.capability().remove_all().await.unwrap();
    assert!(stand.processes().is_empty());
}

#[tokio::test]
async fn many_who_start_it_at_once_start_one() {
    let stand = Stand::new();
    stand.ensure(&service(ALONE)).await;
    let server = stand.wait_running().await;
    stand.shims()[0].kill9();
    let mut launchers: Vec<_> = (0..8).map(|_| stand.launch_shim("")).collect();
    let calls = (0..8).map(|_| async { stand.capability().inspect(MEMBER.into()).await.unwrap() });
    for status in futures::future::join_all(calls).await {
        assert!(matches!(status.state, State::Running(_)));
    }
    for launcher in &mut launchers {
        assert!(launcher.wait().unwrap().success());
    }
    assert_eq!(stand.wait_running().await.pid, server.pid);
    wait_for("one shim to be left", async || {
        (stand.shims().len() == 1).then_some(())
    })
    .await;
    assert_eq!(stand.read("doubles"), "");
}

#[tokio::test]
async fn a_host_that_dies_while_a_shim_starts_leaves_no_trouble() {
    for after_ms in [0, 1, 2, 4, 8, 16] {
        let stand = Stand::new();
        stand.ensure(&service(SERVE)).await;
        stand.stop().await;
        stand.wait_stopped().await;
        std::fs::write(stand.home().join("wanted"), "").unwrap();
        let mut launcher = stand.launch_shim("");
        elapse(Duration::from_millis(after_ms)).await;
        launcher.kill().unwrap();
        launcher.wait().unwrap();
        stand.wait_running().await;
        wait_for("one shim to be left", async || {
            (stand.shims().len() == 1).then_some(())
        })
        .await;
        assert_eq!(stand.servers().len(), 1);
    }
}

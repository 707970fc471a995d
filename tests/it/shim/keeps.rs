//! It keeps a server running.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use berth::runtime::Programs;
use berth_bindings::target::berth::plugin::process::{Host, State};
use berth_tests::wait_for;

use super::stand::{MEMBER, SERVE, Stand, filled_service, service, sh};

#[tokio::test]
async fn a_server_that_is_killed_is_back_within_two_seconds() {
    let stand = Stand::new();
    assert!(matches!(stand.inspect().await, (State::Absent, 0)));
    stand.ensure(&service(SERVE)).await;
    let mut server = stand.wait_running().await;
    for round in 1..=5 {
        let killed = Instant::now();
        server.kill9();
        server = stand.wait_running_but(server.pid).await;
        assert!(killed.elapsed() < Duration::from_secs(2), "round {round}");
        assert_eq!(stand.inspect().await.1, round);
    }
    assert_eq!(stand.shims().len(), 1);
}

#[tokio::test]
async fn the_same_service_is_left_alone_and_another_replaces_it() {
    let stand = Stand::new();
    let first = service(SERVE);
    stand.ensure(&first).await;
    let server = stand.wait_running().await;
    stand.ensure(&first).await;
    stand.capability().start(MEMBER.into()).await.unwrap();
    assert_eq!(stand.wait_running().await.pid, server.pid);
    stand
        .ensure(&service("echo other > which; exec tail -f /dev/null"))
        .await;
    stand.wait_running_but(server.pid).await;
    assert_eq!(stand.read("which"), "other\n");
    assert_eq!(stand.inspect().await.1, 0, "a replacement is no restart");
}

#[tokio::test]
async fn a_program_that_says_another_version_is_not_started() {
    let mut stand = Stand::new();
    let list = |says: &str| {
        let text = format!(
            "[[program]]\nname = \"sh\"\npaths = [\"/bin/sh\"]\n\
             version_args = [\"-c\", \"echo v7.1\"]\nsays = {{ \"1\" = \"{says}\" }}\n"
        );
        Arc::new(Programs::from_toml(&text).unwrap())
    };
    stand.scope.programs = list("v7.");
    let it = service("echo >> runs; exec tail -f /dev/null");
    stand.ensure(&it).await;
    let server = stand.wait_running().await;
    // What is expected of it is looked at before a start, and what runs is left alone.
    stand.scope.programs = list("v6.");
    stand.ensure(&it).await;
    assert_eq!(stand.wait_running().await.pid, server.pid);
    server.kill9();
    let why = stand
        .wait_state("it to have failed", |state| match state {
            State::Failed(why) => Some(why),
            _ => None,
        })
        .await;
    assert!(
        why.contains("it says \"v7.1\" of itself, and not \"v6.\""),
        "{why}"
    );
    assert_eq!(stand.read("runs"), "\n");
    stand.scope.programs = list("v7.");
    stand.ensure(&it).await;
    stand.capability().start(MEMBER.into()).await.unwrap();
    stand.wait_running().await;
    assert_eq!(stand.read("runs"), "\n\n");
}

#[tokio::test]
async fn a_server_outlives_its_shim_and_the_next_takes_it_over() {
    let stand = Stand::new();
    stand.ensure(&service(SERVE)).await;
    let server = stand.wait_running().await;
    let [shim] = &stand.shims()[..] else {
        panic!("one shim")
    };
    shim.kill9();
    wait_for("the shim to be gone", async || {
        stand
            .shims()
            .iter()
            .all(|s| s.pid != shim.pid)
            .then_some(())
    })
    .await;
    assert_eq!(stand.servers()[0].pid, server.pid);
    assert!(matches!(stand.inspect().await, (State::Running(_), 0)));
    assert_eq!(stand.wait_running().await.pid, server.pid);
    assert_eq!(stand.shims().len(), 1);
    // It is watched although it is no child.
    server.kill9();
    let next = stand.wait_running_but(server.pid).await;
    assert_eq!(stand.inspect().await.1, 1);
    // And it is stopped although it is no child.
    stand.shims()[0].kill9();
    stand.wait_running().await;
    stand.stop().await;
    stand.wait_stopped().await;
    assert!(stand.processes().is_empty(), "{next:?}");
}

#[tokio::test]
async fn shim_and_server_killed_together_are_both_replaced() {
    let stand = Stand::new();
    // A child of the server that leaves its session and is nobody's child when both are gone.
    let script = "setsid tail -f /dev/null & exec tail -f /dev/null";
    stand.ensure(&service(script)).await;
    let server = stand.wait_running().await;
    let before: Vec<i32> = stand.processes().iter().map(|p| p.pid).collect();
    assert!(before.len() >= 3);
    stand.shims()[0].kill9();
    server.kill9();
    let next = stand.wait_running_but(server.pid).await;
    assert!(!before.contains(&next.pid));
    wait_for("what was left to be gone", async || {
        stand
            .processes()
            .iter()
            .all(|p| !before.contains(&p.pid))
            .then_some(())
    })
    .await;
    assert_eq!(stand.shims().len(), 1);
    assert_eq!(stand.inspect().await.1, 1);
}

#[tokio::test]
async fn a_crash_loop_is_slowed_down_and_reported_with_its_last_words() {
    let stand = Stand::new();
    stand
        .ensure(&service(
            "echo tried >> tries; echo no such thing in $PWD >&2; exit 3",
        ))
        .await;
    let text = stand
        .wait_state("it to be reported", |state| match state {
            State::Failed(text) => Some(text),
            State::Restarting(text) => {
                assert!(text.contains("status 3"), "{text}");
                None
            }
            _ => None,
        })
        .await;
    assert!(
        text.contains("status 3") && text.contains("no such thing"),
        "{text}"
    );
    let place = stand.scope.files.instance_dir.to_string_lossy();
    assert!(!text.contains(&*place), "{text}");
    let tries = stand.read("tries").lines().count();
    assert!((6..=12).contains(&tries), "{tries}");
    // A service that works is not held up by the failures of the one before.
    let asked = Instant::now();
    stand.ensure(&service(SERVE)).await;
    stand.wait_running().await;
    assert!(asked.elapsed() < Duration::from_secs(5));
    let log = stand
        .capability()
        .log_tail(MEMBER.into(), 100_000)
        .await
        .unwrap();
    assert_eq!(log.matches("no such thing").count(), tries);
    assert!(log.contains("it exited with status 3"));
    let short = stand
        .capability()
        .log_tail(MEMBER.into(), 60)
        .await
        .unwrap();
    assert!(short.len() < 60 && log.ends_with(&short));
}

#[tokio::test]
async fn a_volume_is_filled_once() {
    let stand = Stand::new();
    let service = filled_service(
        &[
            "echo one >> volumes/data/content",
            "echo two >> volumes/data/content",
        ],
        SERVE,
    );
    stand.ensure(&service).await;
    let server = stand.wait_running().await;
    server.kill9();
    let server = stand.wait_running_but(server.pid).await;
    stand.shims()[0].kill9();
    server.kill9();
    stand.wait_running_but(server.pid).await;
    assert_eq!(stand.read("volumes/data/content"), "one\ntwo\n");
}

#[tokio::test]
async fn filling_that_was_cut_short_begins_anew() {
    let stand = Stand::new();
    let hang = "echo begun >> volumes/data/content; echo . >> runs; \
        [ -e allowed ] || { setsid tail -f /dev/null & exec tail -f /dev/null; }";
    let service = filled_service(&[hang, "echo done >> volumes/data/content"], SERVE);
    stand.ensure(&service).await;
    for run in 1..=3 {
        wait_for("the task to hang", async || {
            let runs = stand.read("runs").lines().count();
            let hanging = stand
                .processes()
                .iter()
                .filter(|p| p.args[0] == "tail")
                .count();
            (runs == run && hanging == 2).then_some(())
        })
        .await;
        assert!(matches!(stand.inspect().await.0, State::Initialising));
        if run == 3 {
            stand.allow("allowed");
        }
        // Its task lives on, and must not go on beside the next.
        stand.shims()[0].kill9();
        stand
            .wait_state("a new shim", |_| (!stand.shims().is_empty()).then_some(()))
            .await;
    }
    stand.wait_running().await;
    assert_eq!(stand.read("volumes/data/content"), "begun\ndone\n");
    assert_eq!(stand.read("runs").lines().count(), 4);
    assert_eq!(stand.servers().len(), 1);
}

#[tokio::test]
async fn a_volume_that_cannot_be_filled_is_reported_and_tried_again() {
    let stand = Stand::new();
    let task = "echo . >> runs; echo x > volumes/data/part; [ -e allowed ] || { echo disk on fire; exit 9; }";
    stand.ensure(&filled_service(&[task], SERVE)).await;
    let text = stand
        .wait_state("it to be reported", |state| match state {
            State::Failed(text) => Some(text),
            _ => None,
        })
        .await;
    assert!(
        text.contains("init task 1 of 1")
            && text.contains("status 9")
            && text.contains("disk on fire"),
        "{text}"
    );
    stand.allow("allowed");
    stand.wait_running().await;
}

#[tokio::test]
async fn a_volume_that_was_emptied_is_never_filled_again() {
    let stand = Stand::new();
    let service = filled_service(&["echo x > volumes/data/content; echo . >> runs"], SERVE);
    stand.ensure(&service).await;
    let server = stand.wait_running().await;
    fs::remove_file(stand.volume().join("content")).unwrap();
    server.kill9();
    stand
        .wait_state("the loss to be reported", |state| match state {
            State::Restarting(text) | State::Failed(text) => {
                text.contains("empty now").then_some(())
            }
            _ => None,
        })
        .await;
    assert_eq!(stand.read("runs").lines().count(), 1);
    fs::write(stand.volume().join("content"), "back").unwrap();
    stand.wait_running().await;
    assert_eq!(stand.read("volumes/data/content"), "back");
}

#[tokio::test]
async fn stale_files_are_removed_before_each_start() {
    let stand = Stand::new();
    let mut service =
        service("[ -e server.pid ] && exit 1; echo > server.pid; exec tail -f /dev/null");
    service.stale_files = vec!["main/server.pid".into()];
    stand.ensure(&service).await;
    let server = stand.wait_running().await;
    server.kill9();
    stand.wait_running_but(server.pid).await;
    assert_eq!(stand.inspect().await.1, 1);
}

#[tokio::test]
async fn a_server_begins_with_a_clean_slate() {
    let stand = Stand::new();
    let script = "cat /proc/self/status > status; ls -l /proc/$$/fd > fds; env > env; umask > umask; \
        cut -d' ' -f6 /proc/$$/stat > sid; echo $$ > pid; ulimit -c > core; cat /proc/self/oom_score_adj > oom; \
        exec tail -f /dev/null";
    let mut service = service(script);
    service.main.env.push(("GREETING".into(), "a=b c".into()));
    // Written down, and then started by a stand-in for a host with everything that could leak.
    stand.ensure(&service).await;
    stand.wait_running().await;
    stand.stop().await;
    stand.wait_stopped().await;
    let wanted = stand.home().join("wanted");
    fs::write(&wanted, "").unwrap();
    let prefix =
        "trap '' INT QUIT HUP TERM USR1 PIPE CHLD; exec 7</dev/null 8>>/dev/null; export SECRET=x;";
    assert!(stand.launch_shim(prefix).wait().unwrap().success());
    stand.wait_running().await;

    let status = stand.read("status");
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_once(':')
            .unwrap()
            .1
            .split_whitespace()
            .collect::<Vec<_>>()
    };
    assert_eq!(field("NoNewPrivs"), ["1"]);
    assert_eq!(field("THP_enabled"), ["1"], "the shim alone does without");
    for signals in ["SigIgn", "SigBlk"] {
        // Those above are the C library's own.
        let set = u64::from_str_radix(field(signals)[0], 16).unwrap();
        assert_eq!(set & 0x7fff_ffff, 0, "{signals}");
    }
    if let Some(uid) = stand.scope.files.uid {
        let uid = uid.to_string();
        assert_eq!(field("Uid"), [uid.as_str(); 4]);
        assert_eq!(field("Gid"), [uid.as_str(); 4]);
        assert!(field("Groups").is_empty());
        assert_eq!(field("CapEff"), ["0000000000000000"]);
    }
    assert_eq!(
        stand
            .read("env")
            .replace("PWD=", "\n")
            .matches("SECRET")
            .count(),
        0
    );
    assert!(stand.read("env").contains("GREETING=a=b c"));
    assert_eq!(stand.read("umask").trim(), "0077");
    assert_eq!(stand.read("sid").trim(), stand.read("pid").trim());
    assert_eq!(stand.read("core").trim(), "0");
    let fds = stand.read("fds");
    let open: Vec<&str> = fds.lines().filter(|line| line.contains("->")).collect();
    // Its own redirection of `ls` aside, there are the three, and none of them is a terminal or the host's.
    assert!(
        open.iter().all(|line| {
            line.contains("/dev/null")
                || line.contains("/.berth/main/log/log")
                || line.contains("/main/fds")
        }),
        "{fds}"
    );
    assert!(!fds.contains(" 7 ->") && !fds.contains(" 8 ->"), "{fds}");
}

#[tokio::test]
async fn what_may_not_run_is_refused_and_leaves_nothing() {
    let stand = Stand::new();
    let mut other_program = service(SERVE);
    other_program.main = sh("true");
    other_program.main.program = "cat".into();
    let other = stand.data.path().join("instances/other/secret");
    let outside = service(&format!("cat {}", other.display()));
    for (service, why) in [
        (other_program, "manifest"),
        (outside, "outside the instance"),
    ] {
        let error = stand
            .capability()
            .ensure(MEMBER.into(), service)
            .await
            .unwrap_err();
        assert!(format!("{error:?}").contains(why), "{error:?}");
    }
    for member in ["", "../x", "Main", "a/b", "-a"] {
        stand.capability().inspect(member.into()).await.unwrap_err();
        stand
            .capability()
            .ensure(member.into(), service(SERVE))
            .await
            .unwrap_err();
    }
    assert!(stand.processes().is_empty());
    assert!(!stand.home().exists());
}

//! What a member may use and reach, with the real binary, the kernel's own control groups and Landlock. What this
//! machine cannot give is not tried, and the test says so.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use berth::model::confinement::{Confinement, Wish};
use berth::runtime::scope::InstanceBounds;
use berth_bindings::target::berth::plugin::process::{Host as _, State};
use berth_tests::real::{DataDir, Host, psql_binary};
use berth_tests::{not_tried, wait_for};

use crate::lifecycle::{destroy, running};
use crate::shim::stand::{MEMBER, SERVE, Stand, filled_service, service};

/// Tries to read and to write every file of a list, and keeps what it could.
const TRY_ALL: &str = "while read -r file; do \
    head -c1 \"$file\" > /dev/null 2>&1 && echo \"read $file\" >> reached; \
    (echo more >> \"$file\") 2> /dev/null && echo \"wrote $file\" >> reached; \
    done < list; cp /bin/true tool && ./tool && echo ran >> reached; echo done >> reached";

#[tokio::test]
async fn a_member_reaches_the_files_of_its_instance_and_no_others() {
    for (wish, walled) in [(Wish::Preferred, true), (Wish::Off, false)] {
        let mut stand = Stand::new();
        stand.scope.bounds = Arc::new(InstanceBounds {
            confinement: wish,
            ..InstanceBounds::default()
        });
        let own = stand.member_dir().join("own");
        let foreign = foreign_files(&stand);
        let service_file = stand.home().join("service.json");
        let all = foreign.iter().chain([&own, &service_file]);
        let list: String = all.map(|path| format!("{}\n", path.display())).collect();
        fs::write(stand.member_dir().join("list"), list).unwrap();
        fs::write(&own, "mine").unwrap();
        give(&stand, &own);

        // Its tasks and its server alike.
        let task = format!("{TRY_ALL}; mv reached by-task; echo full > volumes/data/full");
        let server = format!("{TRY_ALL}; mv reached by-server; exec tail -f /dev/null");
        stand.ensure(&filled_service(&[&task], &server)).await;
        stand.wait_running().await;
        let shown = confinement(&stand);
        if walled && !shown.files_confined {
            not_tried(&shown.files_open.unwrap_or_default());
            return;
        }
        assert_eq!(shown.files_confined, walled);
        for by in ["by-task", "by-server"] {
            let reached = stand.read(by);
            let has =
                |what: &str, path: &Path| reached.contains(&format!("{what} {}\n", path.display()));
            assert!(has("read", &own) && has("wrote", &own), "{by}: {reached}");
            assert!(reached.ends_with("done\n"), "{by}: {reached}");
            assert_eq!(reached.contains("ran\n"), !walled, "{by}: {reached}");
            for path in &foreign {
                // The modes of the files would let it: they belong to its own user.
                assert_eq!(has("read", path), !walled, "{by}: {reached}");
                assert_eq!(has("wrote", path), !walled, "{by}: {reached}");
            }
            assert!(!walled || !reached.contains(".berth"), "{by}: {reached}");
        }
    }
}

#[tokio::test]
async fn a_member_signals_nobody_outside() {
    let stand = Stand::new();
    let script = "while [ ! -e victim ]; do sleep 0.05; done; \
        kill -9 $(cat victim); echo asked > asked; exec tail -f /dev/null";
    stand.ensure(&service(script)).await;
    wait_for("it to run", async || {
        matches!(stand.inspect().await.0, State::Running(_)).then_some(())
    })
    .await;
    // Not before it runs: what its user left behind is cleared away first.
    let mut victim = outsider(&stand);
    let number = stand.member_dir().join("number");
    fs::write(&number, victim.id().to_string()).unwrap();
    give(&stand, &number);
    fs::rename(&number, stand.member_dir().join("victim")).unwrap();
    wait_for("it to try", async || {
        (!stand.read("asked").is_empty()).then_some(())
    })
    .await;
    let alive = victim.try_wait().unwrap().is_none();
    victim.kill().unwrap();
    victim.wait().unwrap();
    let old_kernel = !confinement(&stand).files_confined || kernel() < (6, 12);
    if old_kernel {
        not_tried("the kernel keeps no signals in");
        return;
    }
    assert!(alive);
}

#[tokio::test]
async fn a_member_that_takes_too_much_memory_is_killed_and_says_so() {
    let mut eater = Stand::new();
    eater.scope.size.memory_bytes = 64 << 20;
    let neighbour = Stand::new();
    neighbour.ensure(&service(SERVE)).await;
    let undisturbed = neighbour.wait_running().await;

    // A line that does not end is kept whole.
    let script = "while [ ! -e hungry ]; do sleep 0.05; done; exec tail -n 1 /dev/zero";
    eater.ensure(&service(script)).await;
    wait_for("it to run", async || {
        matches!(eater.inspect().await.0, State::Running(_)).then_some(())
    })
    .await;
    if let Some(why) = confinement(&eater).limits_missing {
        not_tried(&why);
        return;
    }
    eater.allow("hungry");
    let how = eater
        .wait_state("it to be killed", |state| match state {
            State::Restarting(how) | State::Failed(how) => Some(how),
            State::Absent | State::Initialising | State::Running(_) | State::Stopped => None,
        })
        .await;
    assert!(how.contains("at its memory limit of 64 MiB"), "{how}");
    // Again and again it is no accident.
    eater
        .wait_state("it to be given up", |state| {
            matches!(state, State::Failed(_)).then_some(())
        })
        .await;
    let shown = confinement(&eater);
    assert_eq!(shown.memory_bytes, Some(64 << 20));
    assert!(shown.memory_kills >= 6, "{shown:?}");
    assert_eq!(neighbour.wait_running().await.pid, undisturbed.pid);
    assert_eq!(confinement(&neighbour).memory_kills, 0);
}

#[tokio::test]
async fn a_child_that_is_killed_for_memory_is_noticed() {
    let mut stand = Stand::new();
    stand.scope.size.memory_bytes = 64 << 20;
    let script = "tail -n 1 /dev/zero; echo survived > survived; exec tail -f /dev/null";
    stand.ensure(&service(script)).await;
    stand.wait_running().await;
    if let Some(why) = confinement(&stand).limits_missing {
        not_tried(&why);
        return;
    }
    assert_eq!(stand.read("survived"), "survived\n");
    wait_for("the shim to notice", async || {
        (confinement(&stand).memory_kills > 0).then_some(())
    })
    .await;
    assert_eq!(stand.inspect().await.1, 0, "the server itself went on");
}

#[tokio::test]
async fn limits_change_with_the_size_and_groups_go_with_the_member() {
    let mut stand = Stand::new();
    stand.ensure(&service(SERVE)).await;
    let server = stand.wait_running().await;
    if let Some(why) = confinement(&stand).limits_missing {
        not_tried(&why);
        return;
    }
    let groups = stand.data.groups();
    let numbers = |name: &str| {
        let texts = groups.iter().map(|dir| fs::read_to_string(dir.join(name)));
        texts.flatten().next().map(|text| text.trim().to_owned())
    };
    for group in &groups {
        let inside = fs::read_to_string(group.join("cgroup.procs")).unwrap();
        assert_eq!(inside, format!("{}\n", server.pid));
    }
    assert_eq!(numbers("pids.max"), Some((1024 + 256).to_string()));

    stand.scope.size.memory_bytes = 512 << 20;
    stand.capability().start(MEMBER.into()).await.unwrap();
    wait_for("the new limit", async || {
        (numbers("pids.max") == Some((1024 + 512).to_string())).then_some(())
    })
    .await;
    assert_eq!(stand.wait_running().await.pid, server.pid, "it went on");

    // A stopped member has none, one that is started again has the same.
    stand.stop().await;
    stand.wait_stopped().await;
    assert!(groups.iter().all(|group| !group.exists()));
    stand.capability().start(MEMBER.into()).await.unwrap();
    stand.wait_running().await;
    assert_eq!(stand.data.groups(), groups);
    stand.capability().remove_all().await.unwrap();
    assert!(groups.iter().all(|group| !group.parent().unwrap().exists()));
}

/// What is missing is covered up, in a mount namespace of the shim's own.
#[tokio::test]
async fn without_control_groups_it_runs_and_says_so_unless_they_are_required() {
    if !nix::unistd::geteuid().is_root() {
        not_tried("only root can cover the control groups up");
        return;
    }
    for wish in [Wish::Preferred, Wish::Required] {
        let mut stand = Stand::new();
        let wrapper = stand.data.path().join("berth-without-groups");
        let berth = stand.scope.berth_exe.display();
        let cover = "mount -t tmpfs none /sys/fs/cgroup && exec";
        let text =
            format!("#!/bin/sh\nexec unshare -m /bin/sh -c '{cover} {berth} \"$@\"' sh \"$@\"\n");
        fs::write(&wrapper, text).unwrap();
        fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
        stand.scope.berth_exe = wrapper;
        stand.scope.bounds = Arc::new(InstanceBounds {
            limits: wish,
            ..InstanceBounds::default()
        });
        stand.ensure(&service(SERVE)).await;
        if wish == Wish::Preferred {
            stand.wait_running().await;
        } else {
            let how = stand
                .wait_state("it to be refused", |state| match state {
                    State::Failed(how) => Some(how),
                    State::Absent
                    | State::Initialising
                    | State::Running(_)
                    | State::Restarting(_)
                    | State::Stopped => None,
                })
                .await;
            assert!(
                how.contains("limits are required and cannot be had"),
                "{how}"
            );
            assert!(stand.servers().is_empty());
        }
        let shown = confinement(&stand);
        let missing = shown.limits_missing.clone().unwrap_or_default();
        assert!(
            missing.contains("no limit of memory, cpu, pids"),
            "{shown:?}"
        );
        assert_eq!(shown.memory_bytes, None);
        let log = stand
            .capability()
            .log_tail(MEMBER.into(), 4096)
            .await
            .unwrap();
        assert!(log.contains(&missing), "{log}");
    }
}

#[tokio::test]
async fn a_database_reads_nothing_of_another_and_shows_how_it_is_held() {
    let data = DataDir::new();
    let host = Host::start(&data).await;
    let id = running(&host, "curious").await;
    let shown = host
        .get(&format!("/admin/v1/instances/{id}"))
        .await
        .expect(200);
    // The proxy in front of it is held like it.
    let [proxy, held] = [0, 1].map(|i| &shown["confinement"][i]);
    assert_eq!(proxy["member"], "0-proxy", "{shown}");
    assert_eq!(held["member"], "pg-0", "{shown}");
    for what in ["files_confined", "memory_bytes"] {
        assert_eq!(proxy[what], held[what], "{shown}");
    }
    if held["limits_missing"].is_null() {
        assert_eq!(
            held["memory_bytes"], shown["spec"]["size"]["memory_bytes"],
            "{shown}"
        );
    }
    if held["files_confined"] == false {
        not_tried(&held["files_open"].to_string());
    } else {
        // What is its own and the system's, it reads; and it runs what is installed.
        let dir = directory(&host, &data, &id).await;
        let own = "select length(pg_read_file('PG_VERSION')) > 1, length(pg_read_file('/etc/passwd')) > 1";
        assert_eq!(as_superuser(&dir, own).unwrap(), "t|t");
        as_superuser(&dir, "copy (select 1) to program 'cat > written'").unwrap();
        reaches_for_another(&host, &data, &dir, false).await;
    }
    destroy(&host, &id).await;
    data.nothing_but_the_host().await;
    assert_eq!(data.groups(), Vec::<PathBuf>::new());
}

/// Were it not for the walls, the attempts of the test above would succeed.
#[tokio::test]
async fn a_database_without_walls_reads_what_the_modes_of_anothers_files_let_it() {
    let data = DataDir::new();
    let config = data.path().join("berth.toml");
    fs::write(&config, "[node]\nconfinement = \"off\"\n").unwrap();
    let host = Host::start_with(&data, &["--config", config.to_str().unwrap()]).await;
    let id = running(&host, "unwalled").await;
    let dir = directory(&host, &data, &id).await;
    reaches_for_another(&host, &data, &dir, true).await;
    destroy(&host, &id).await;
    data.nothing_but_the_host().await;
}

/// Have the database reach for a file of another one, by its own hands and by a program's.
async fn reaches_for_another(host: &Host, data: &DataDir, dir: &Path, succeeds: bool) {
    const SECRET: &str = "what nobody should read";
    let other = running(host, "the-other").await;
    let others = directory(host, data, &other).await;
    let tell = format!("copy (select '{SECRET}') to program 'cat > told'");
    as_superuser(&others, &tell).unwrap();
    let at = as_superuser(&others, "show data_directory").unwrap();
    let told = Path::new(&at).join("told");
    // The modes of the files would let everybody: what keeps them out is the walls alone.
    for path in told.ancestors().take_while(|path| *path != data.path()) {
        let mode = if path.is_dir() { 0o755 } else { 0o644 };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let told = told.display();
    let attempts = [
        format!("select pg_read_file('{told}')"),
        // What the program says is what is copied, its complaint too.
        format!(
            "create temp table said (line text); \
             copy said from program 'cat {told} 2>&1 || true'; select * from said"
        ),
    ];
    for sql in attempts {
        let (Ok(said) | Err(said)) = as_superuser(dir, &sql);
        assert_eq!(said.contains(SECRET), succeeds, "{sql}: {said}");
        let refused = said.contains("Permission denied");
        assert_eq!(refused, !succeeds, "{sql}: {said}");
    }
    destroy(host, &other).await;
}

/// Where the database has its files.
async fn directory(host: &Host, data: &DataDir, id: &str) -> PathBuf {
    let shown = host.get(&format!("/admin/v1/instances/{id}")).await;
    let name = shown.expect(200)["id"].as_str().unwrap().to_owned();
    data.path().join("instances").join(name)
}

/// Over the socket of the database in this directory, as only root or its own user can.
fn as_superuser(instance: &Path, sql: &str) -> Result<String, String> {
    let password = fs::read_to_string(instance.join("pg-0/files/superuser.password")).unwrap();
    // Process, data directory, start, port, directory of its socket.
    let held = fs::read_to_string(instance.join("pg-0/volumes/data/postmaster.pid")).unwrap();
    let lines: Vec<&str> = held.lines().map(str::trim).collect();
    let (port, dir) = (lines[3], lines[4]);
    let output = Command::new(psql_binary())
        .args([
            "-XAtq",
            "-v",
            "ON_ERROR_STOP=1",
            "-U",
            "berth",
            "-d",
            "postgres",
            "-c",
            sql,
        ])
        .arg("-h")
        .arg(dir)
        .args(["-p", port])
        .env("PGPASSWORD", password.trim())
        .output()
        .unwrap();
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// Files that the member's user may read and write by their modes, and must not reach.
fn foreign_files(stand: &Stand) -> Vec<PathBuf> {
    let data = stand.data.path();
    [
        "instances/another/main/file",
        "run/another/file",
        "store/records",
        "seal.key",
    ]
    .map(|below| {
        let path = data.join(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "foreign").unwrap();
        give(stand, &path);
        path
    })
    .to_vec()
}

fn give(stand: &Stand, path: &Path) {
    let uid = stand.scope.files.uid;
    if uid.is_some() {
        chown(path, uid, uid).unwrap();
    }
}

/// A process of the same user that does not belong to the member.
fn outsider(stand: &Stand) -> std::process::Child {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new("sleep");
    command.arg("1000").current_dir("/");
    // Another user's it may not signal anyway; without root it is the same one.
    if let Some(uid) = stand.scope.files.uid {
        command.uid(uid).gid(uid);
    }
    command.spawn().unwrap()
}

fn confinement(stand: &Stand) -> Confinement {
    let text = fs::read_to_string(stand.home().join("confinement.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn kernel() -> (u32, u32) {
    let text = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = text.split('.').map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

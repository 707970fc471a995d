//! Tests of what may run.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use super::*;
use crate::model::InstanceId;
use crate::model::resources::NodeSize;
use crate::runtime::programs::Programs;
use crate::runtime::scope::FileScope;

struct Stand {
    dir: tempfile::TempDir,
    scope: ProcessScope,
}

impl Stand {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let files = FileScope {
            instance_dir: root.join("data/instances/own"),
            run_dir: root.join("data/run/own"),
            uid: Some(3_999_999),
        };
        for made in [&files.instance_dir, &files.run_dir, &root.join("bin")] {
            fs::create_dir_all(made).unwrap();
        }
        let mut list = String::new();
        let names = ["plain", "setuid", "setgid", "open", "foreign"];
        for (name, mode) in names.iter().zip([0o755, 0o4755, 0o2755, 0o777, 0o755]) {
            let path = root.join("bin").join(name);
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            list += &format!(
                "[[program]]\nname = \"{name}\"\npaths = [\"{}\"]\n",
                path.display()
            );
        }
        let planted = files.instance_dir.join("planted");
        fs::write(&planted, "").unwrap();
        fs::set_permissions(&planted, fs::Permissions::from_mode(0o755)).unwrap();
        list += &format!(
            "[[program]]\nname = \"planted\"\npaths = [\"{}\"]\n",
            planted.display()
        );
        let allowed = ["plain", "setuid", "setgid", "open", "planted", "absent"];
        let scope = ProcessScope {
            instance: InstanceId::generate(),
            files,
            allowed: allowed.map(str::to_owned).to_vec().into(),
            own: Arc::from(["foreign".to_owned()]),
            programs: Arc::new(Programs::from_toml(&list).unwrap()),
            berth_exe: "/nowhere".into(),
            size: NodeSize {
                cpu_millis: 1000,
                memory_bytes: 1 << 30,
            },
            bounds: Arc::default(),
        };
        Self { dir, scope }
    }

    fn resolve(&self, change: impl FnOnce(&mut process::Service)) -> Result<Service, String> {
        let mut service = process::Service {
            main: command("plain"),
            init: None,
            work_dir: "main".into(),
            stale_files: Vec::new(),
            stop_signal: "TERM".into(),
            stop_grace_ms: 1000,
        };
        change(&mut service);
        resolve(&self.scope, "main", &service).map_err(|error| match error {
            types::Error::Failed(why) => why,
            other => panic!("{other:?}"),
        })
    }

    fn with_arg(&self, arg: impl Into<String>) -> Result<Service, String> {
        self.resolve(|service| service.main.args.push(arg.into()))
    }

    fn path(&self, below: &str) -> String {
        self.dir
            .path()
            .join("data")
            .join(below)
            .display()
            .to_string()
    }
}

fn command(program: &str) -> types::Command {
    types::Command {
        program: program.into(),
        version: "7".into(),
        args: Vec::new(),
        env: Vec::new(),
    }
}

#[test]
fn a_plain_service_is_resolved() {
    let stand = Stand::new();
    let service = stand.resolve(|_| ()).unwrap();
    assert_eq!(service.main.path, stand.dir.path().join("bin/plain"));
    assert_eq!(service.generation.len(), 64);
    assert_eq!(stand.resolve(|_| ()).unwrap(), service);
    let other = stand.resolve(|s| s.stop_grace_ms = 2000).unwrap();
    assert_ne!(other.generation, service.generation);
}

#[test]
fn only_plain_programs_of_the_manifest_run() {
    let stand = Stand::new();
    for (program, why) in [
        ("foreign", "manifest"),
        ("absent", "not there"),
        ("setuid", "no plain program"),
        ("setgid", "no plain program"),
        ("open", "no plain program"),
        ("planted", "among the instances"),
        ("../plain", "odd"),
        ("", "odd"),
    ] {
        let refused = stand.resolve(|s| s.main = command(program)).unwrap_err();
        assert!(refused.contains(why), "{program}: {refused}");
        assert!(!refused.contains(&stand.path("")), "{refused}");
        let init = process::Init {
            dir: "main/volumes/data".into(),
            tasks: vec![command("plain"), command(program)],
        };
        stand.resolve(|s| s.init = Some(init)).unwrap_err();
    }
}

#[test]
fn what_the_target_runs_itself_stands_in_its_own_manifest() {
    let stand = Stand::new();
    let mut service = process::Service {
        main: command("foreign"),
        init: None,
        work_dir: "0-proxy".into(),
        stale_files: Vec::new(),
        stop_signal: "TERM".into(),
        stop_grace_ms: 1000,
    };
    resolve(&stand.scope, "0-proxy", &service).unwrap();
    // Neither has what the other may run.
    for (member, program, whose) in [
        ("main", "foreign", "engine's manifest"),
        ("0-proxy", "plain", "target's manifest"),
    ] {
        service.main = command(program);
        let refused = resolve(&stand.scope, member, &service).unwrap_err();
        let types::Error::Failed(why) = refused else {
            panic!("{refused:?}");
        };
        assert!(why.contains(whose), "{why}");
    }
}

#[test]
fn arguments_stay_inside_the_instance() {
    let stand = Stand::new();
    for good in [
        stand.path("instances/own"),
        stand.path("instances/own/main/volumes/data"),
        format!("--dir={}", stand.path("run/own/socket")),
        stand.path("elsewhere").replace("data", "database"),
        "/usr/share/zoneinfo".into(),
        "a...b ..x x.. 1..2".into(),
    ] {
        stand
            .with_arg(&good)
            .unwrap_or_else(|why| panic!("{good}: {why}"));
    }
    for bad in [
        stand.path("instances/other/main"),
        stand.path("instances/own-not/main"),
        stand.path("instances/own/.berth/main/service.json"),
        stand.path("seal.key"),
        stand.path(""),
        stand.path("").trim_end_matches('/').to_owned(),
        stand.path("instances/other").replace("data/", "data//"),
        format!(
            "--a={}:{}",
            stand.path("instances/own"),
            stand.path("instances/other")
        ),
        format!("/proc/self/root{}", stand.path("instances/other")),
        "../../other/main".into(),
        "--dir=..".into(),
        "a/../b".into(),
        "nul\0byte".into(),
    ] {
        assert!(stand.with_arg(&bad).is_err(), "{bad}");
        let in_env = stand.resolve(|s| s.main.env.push(("A".into(), bad.clone())));
        assert!(in_env.is_err(), "{bad}");
    }
}

#[test]
fn another_spelling_of_the_data_directory_is_the_same() {
    let stand = Stand::new();
    let link = stand.dir.path().join("link");
    std::os::unix::fs::symlink(stand.dir.path().join("data"), &link).unwrap();
    let mut scope = stand.scope.clone();
    scope.files.instance_dir = link.join("instances/own");
    scope.files.run_dir = link.join("run/own");
    let stand = Stand { scope, ..stand };
    stand.with_arg(stand.path("instances/own/main")).unwrap();
    stand
        .with_arg(link.join("instances/own").display().to_string())
        .unwrap();
    stand.with_arg(stand.path("instances/other")).unwrap_err();
    stand
        .with_arg(link.join("seal.key").display().to_string())
        .unwrap_err();
}

#[test]
fn the_loader_is_not_steered() {
    let stand = Stand::new();
    let with = |name: &str| stand.resolve(|s| s.main.env.push((name.into(), "x".into())));
    for good in ["TZ", "_A1", "LDAP"] {
        with(good).unwrap();
    }
    for bad in [
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
        "GLIBC_TUNABLES",
        "",
        "1A",
        "A B",
        "A=B",
        "A\0",
    ] {
        assert!(with(bad).is_err(), "{bad}");
    }
}

#[test]
fn the_rest_of_a_service_is_bounded() {
    let stand = Stand::new();
    let refused = |change: fn(&mut process::Service)| stand.resolve(change).unwrap_err();
    refused(|s| s.stop_signal = "KILL".into());
    refused(|s| s.stop_grace_ms = MAX_GRACE_MS + 1);
    refused(|s| s.main.args = vec![String::new(); MAX_ARGS + 1]);
    refused(|s| s.main.args = vec!["x".repeat(MAX_TEXT + 1)]);
    refused(|s| s.stale_files = vec!["main/a".into(); MAX_STALE + 1]);
    for path in ["", "/etc", "../x", "a/../../x", ".berth/x", "a\0b"] {
        assert!(
            stand.resolve(|s| s.work_dir = path.into()).is_err(),
            "{path}"
        );
        assert!(
            stand
                .resolve(|s| s.stale_files = vec![path.into()])
                .is_err(),
            "{path}"
        );
        let init = process::Init {
            dir: path.into(),
            tasks: Vec::new(),
        };
        assert!(stand.resolve(|s| s.init = Some(init)).is_err(), "{path}");
    }
}

#[test]
fn a_host_that_is_root_runs_nothing_as_itself() {
    let stand = Stand::new();
    for uid in [None, Some(0)] {
        let mut scope = stand.scope.clone();
        scope.files.uid = uid;
        let stand = Stand {
            scope,
            dir: tempfile::tempdir().unwrap(),
        };
        let result = stand.resolve(|_| ());
        assert_eq!(
            result.is_err(),
            nix::unistd::geteuid().is_root() || uid == Some(0)
        );
    }
}

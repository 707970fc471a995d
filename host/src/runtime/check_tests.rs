//! Tests of `check`: one sound plan, and everything that makes it unsound.

use super::*;
use crate::model::workload::{EndpointPlan, File, Init, Stop};

const DATA: &str = "/srv/berth";

fn manifest() -> Manifest {
    toml::from_str(
        r#"
        kind = "engine"
        name = "probe"
        version = "1"
        contract = "0.1.0"
        programs = [{ name = "server" }, { name = "setup" }]
        "#,
    )
    .unwrap()
}

fn command(program: &str) -> Command {
    Command {
        program: program.into(),
        version: "16".into(),
        args: vec!["--data=${volume:data}".into(), "${listen:sql}".into()],
        env: vec![("TZ".into(), "UTC".into())],
    }
}

fn plan() -> Workload {
    Workload {
        members: vec![Member {
            name: "main".into(),
            main: command("server"),
            init: Some(Init {
                volume: "data".into(),
                tasks: vec![command("setup")],
            }),
            files: vec![
                File {
                    name: "server.conf".into(),
                    content: "socket = ${run}\nport = ${port:sql}\nme = ${endpoint:sql}".into(),
                    sensitive: false,
                },
                File {
                    name: "key.pem".into(),
                    content: "${secret:tls.key}${secret:app}".into(),
                    sensitive: true,
                },
            ],
            volumes: vec![Volume {
                name: "data".into(),
                size_bytes: 1 << 30,
            }],
            ports: vec![Port {
                name: "sql".into(),
                number: 4000,
                socket: Some(".s.${port:sql}".into()),
            }],
            stale_files: vec!["data/server.pid".into()],
            stop: Stop {
                signal: "INT".into(),
                grace_ms: 5000,
            },
        }],
        endpoints: vec![EndpointPlan {
            name: "sql".into(),
            member: "main".into(),
            port: "sql".into(),
            for_members: false,
        }],
        secrets: vec![
            SecretRequest {
                name: "app".into(),
                kind: SecretKind::Password(24),
            },
            SecretRequest {
                name: "tls".into(),
                kind: SecretKind::Certificate(365),
            },
        ],
    }
}

/// The reason for refusing the plan with one change.
fn refused(change: impl FnOnce(&mut Workload)) -> String {
    let mut plan = plan();
    change(&mut plan);
    let error = workload(&plan, &manifest(), DATA.as_ref()).unwrap_err();
    assert!(error.public().contains("`probe` was refused"), "{error}");
    error.public().to_owned()
}

#[test]
fn a_sound_plan_is_taken() {
    workload(&plan(), &manifest(), DATA.as_ref()).unwrap();
}

#[test]
fn a_way_for_members_is_beside_those_for_clients() {
    let mut both = plan();
    both.members[0].ports.push(Port {
        name: "bus".into(),
        number: 4001,
        socket: None,
    });
    both.endpoints.push(EndpointPlan {
        name: "bus".into(),
        port: "bus".into(),
        for_members: true,
        ..both.endpoints[0].clone()
    });
    both.members[0]
        .main
        .args
        .push("${endpoint:bus.port}".into());
    workload(&both, &manifest(), DATA.as_ref()).unwrap();
    refused(|p| p.endpoints[0].for_members = true);
    let twice = refused(|p| {
        let twin = EndpointPlan {
            name: "twin".into(),
            for_members: true,
            ..p.endpoints[0].clone()
        };
        p.endpoints.push(twin);
    });
    assert!(twice.contains("another one leads to"), "{twice}");
    refused(|p| p.endpoints = vec![p.endpoints[0].clone(); ENDPOINTS + 1]);
}

#[test]
fn only_programs_of_the_manifest_run() {
    for program in ["/bin/sh", "sh", "", "../server", "server\0"] {
        assert!(refused(|p| p.members[0].main.program = program.into()).contains("manifest"));
        let in_init = |p: &mut Workload| {
            p.members[0].init.as_mut().unwrap().tasks[0].program = program.into();
        };
        assert!(refused(in_init).contains("manifest"));
    }
    for version in ["", "../16", "16/..", "1 6"] {
        assert!(refused(|p| p.members[0].main.version = version.into()).contains("version"));
    }
}

#[test]
fn a_secret_stands_in_sensitive_files_only() {
    let secret = || "${secret:app}".to_owned();
    assert!(refused(|p| p.members[0].main.args.push(secret())).contains("secret"));
    assert!(refused(|p| p.members[0].main.env.push(("P".into(), secret()))).contains("secret"));
    assert!(refused(|p| p.members[0].files[0].content = secret()).contains("secret"));
    assert!(refused(|p| p.members[0].files[1].sensitive = false).contains("secret"));
    refused(|p| p.members[0].ports[0].socket = Some(secret()));
    let in_init = |p: &mut Workload| {
        p.members[0].init.as_mut().unwrap().tasks[0]
            .args
            .push(secret());
    };
    assert!(refused(in_init).contains("secret"));
}

#[test]
fn placeholders_name_what_is_there() {
    for unknown in [
        "${volume:other}",
        "${file:other}",
        "${port:other}",
        "${listen:other}",
        "${endpoint:other}",
        "${run:x}",
        "${env:HOME}",
        "${",
    ] {
        refused(|p| p.members[0].main.args.push(unknown.into()));
    }
    for unknown in [
        "${secret:other}",
        "${secret:tls}",
        "${secret:app.key}",
        "${secret:tls.x}",
    ] {
        refused(|p| p.members[0].files[1].content = unknown.into());
    }
}

#[test]
fn names_are_plain_and_unique() {
    for name in ["", "Main", "main/..", "..", "a b", "9", &"a".repeat(21)] {
        refused(|p| {
            p.members[0].name = name.into();
            p.endpoints[0].member = name.into();
        });
        refused(|p| {
            p.members[0].volumes.push(Volume {
                name: name.into(),
                size_bytes: 1,
            });
        });
    }
    for name in ["", ".", "..", "a/b", "a b", "data", "server.conf"] {
        refused(|p| {
            p.members[0].files.push(File {
                name: name.into(),
                content: String::new(),
                sensitive: false,
            });
        });
    }
    refused(|p| p.members.push(p.members[0].clone()));
    refused(|p| p.endpoints.push(p.endpoints[0].clone()));
    refused(|p| p.secrets.push(p.secrets[0].clone()));
    let twice = |order: [&str; 3]| {
        refused(|p| p.members[0].main.env = order.map(|n| (n.into(), "x".into())).into());
    };
    twice(["A", "A", "B"]);
    twice(["A", "B", "A"]);
}

#[test]
fn the_bound_of_what_is_stored_is_one() {
    let mut plan = plan();
    assert!(most_stored(&plan) >= stored_size(&plan));
    let worst = || "\u{1}".repeat(1000);
    plan.members[0].main.args = vec![worst(); 20];
    plan.members[0].files[0].content = worst();
    plan.members[0].volumes = vec![
        Volume {
            name: worst(),
            size_bytes: u64::MAX
        };
        20
    ];
    plan.members[0].ports = vec![
        Port {
            name: String::new(),
            number: u16::MAX,
            socket: None
        };
        50
    ];
    plan.members[0].stop.grace_ms = u32::MAX;
    plan.endpoints = vec![plan.endpoints[0].clone(); 50];
    plan.secrets = vec![plan.secrets[1].clone(); 50];
    plan.members = vec![plan.members[0].clone(); 20];
    assert!(most_stored(&plan) >= stored_size(&plan));
    let empty = Workload::default();
    assert!(most_stored(&empty) >= stored_size(&empty));
}

#[test]
fn sizes_and_counts_are_bounded() {
    refused(|p| p.members.clear());
    refused(|p| p.endpoints.clear());
    refused(|p| p.members[0].main.args = vec![String::new(); 257]);
    refused(|p| p.members[0].main.args = vec!["x".repeat(ARG_BYTES + 1)]);
    refused(|p| p.members[0].files[0].content = "x".repeat(PLAN_BYTES + 1));
    // As it is stored, a line break takes two bytes.
    refused(|p| p.members[0].files[0].content = "\n".repeat(PLAN_BYTES / 2 + 1));
    refused(|p| {
        let member = &mut p.members[0];
        member.files = (0..8)
            .map(|n| File {
                name: format!("f{n}"),
                content: "x".repeat(PLAN_BYTES / 8),
                sensitive: false,
            })
            .collect();
    });
    refused(|p| p.members[0].volumes[0].size_bytes = 0);
    refused(|p| p.members[0].volumes[0].size_bytes = u64::MAX);
    refused(|p| p.secrets[0].kind = SecretKind::Password(8));
    refused(|p| p.secrets[0].kind = SecretKind::Password(100_000));
    refused(|p| p.secrets[1].kind = SecretKind::Certificate(0));
    refused(|p| p.members[0].stop.grace_ms = u32::MAX);
    refused(|p| p.members[0].stop.signal = "KILL".into());
    refused(|p| p.members[0].init.as_mut().unwrap().tasks.clear());
}

#[test]
fn what_is_referred_to_is_there() {
    refused(|p| p.endpoints[0].member = "other".into());
    refused(|p| p.endpoints[0].port = "other".into());
    refused(|p| p.members[0].init.as_mut().unwrap().volume = "other".into());
    refused(|p| p.members[0].ports[0].number = 0);
    refused(|p| {
        let mut twin = p.members[0].ports[0].clone();
        twin.name = "twin".into();
        p.members[0].ports.push(twin);
    });
    for socket in ["", "..", "../other/socket", "/run/socket", "${run}"] {
        refused(|p| p.members[0].ports[0].socket = Some(socket.into()));
    }
    for stale in [
        "data",
        "data/",
        "other/x",
        "data/../x",
        "data//x",
        "/etc/passwd",
    ] {
        refused(|p| p.members[0].stale_files = vec![stale.into()]);
    }
}

#[test]
fn the_environment_cannot_load_code() {
    for name in ["LD_PRELOAD", "LD_LIBRARY_PATH", "A=B", "", "TZ", "1A"] {
        refused(|p| p.members[0].main.env.push((name.into(), "x".into())));
    }
    refused(|p| p.members[0].main.args.push("a\0b".into()));
}

#[test]
fn nothing_names_a_place_of_the_hosts() {
    for path in [
        "/srv/berth/instances/other/main",
        "--include=/srv/berth/compiled.key",
        "//srv/./berth/run",
        "/proc/self/root/srv/berth",
    ] {
        assert!(refused(|p| p.members[0].main.args.push(path.into())).contains("outside"));
        refused(|p| p.members[0].main.env.push(("P".into(), path.into())));
        refused(|p| p.members[0].files[0].content = format!("include '{path}'"));
    }
    for climbing in [
        "${volume:data}/../../other",
        "..",
        "--x=../y",
        "../../../other/main",
        "/srv/lib/../berth/instances/other",
        "/srv/./lib//../berth",
    ] {
        let included = || format!("include '{climbing}'\n");
        assert!(refused(|p| p.members[0].main.args.push(climbing.into())).contains("climbs"));
        let in_env = |p: &mut Workload| p.members[0].main.env.push(("P".into(), climbing.into()));
        assert!(refused(in_env).contains("climbs"));
        for file in [0, 1] {
            let in_file = |p: &mut Workload| p.members[0].files[file].content = included();
            assert!(refused(in_file).contains("climbs"), "{file}: {climbing}");
        }
    }
    // Dots that are no directory.
    let mut plan = plan();
    plan.members[0].files[0].content = "# and so on ...\nrange = 1..5\nfile = a..b".into();
    workload(&plan, &manifest(), DATA.as_ref()).unwrap();
}

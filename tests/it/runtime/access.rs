//! Who may connect: the local target with its proxy, in front of a server of the test's own. Clients come from several
//! addresses of the loopback, which are networks like any others.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};

use berth::model::workload::{Command, Member, MemberState, Port, Stop};
use berth_tests::real::{DataDir, Process, berth_binary, free_port};
use berth_tests::wait::elapse;
use berth_tests::{fixture, wait_for};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::*;

const PROGRAMS: &str = include_str!("../../../host/data/programs.toml");
/// What stands for a server: the one that answers is the test itself.
pub const SERVER: &str = "[[program]]\nname = \"probe-server\"\npaths = [\"/usr/bin/tail\"]\n";
const PROXY: &str = "0-proxy";

/// An instance on the loopback, with its proxy.
struct Fronted {
    data: DataDir,
    runtime: Runtime,
    context: TargetContext,
}

impl Fronted {
    async fn start(bind: &str, access: &[&str]) -> Self {
        let data = DataDir::new();
        let folder = data.path().join("folder");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("probe.wasm"), fixture::engine()).unwrap();
        std::fs::write(folder.join("local.wasm"), fixture::local()).unwrap();
        let capabilities = BTreeSet::from([Capability::Process, Capability::Files]);
        let shipped = Programs::from_toml(PROGRAMS).unwrap();
        let runtime = Runtime::open(RuntimeConfig {
            storage: BTreeMap::new(),
            data_dir: data.path().to_owned(),
            plugins_dir: folder,
            grants: BTreeMap::from([("local".to_owned(), capabilities)]),
            programs: shipped.overridden_by(Programs::from_toml(SERVER).unwrap()),
            on_call: OnCall::default(),
            limits: Limits::default(),
            compile_threads: 2,
            berth_exe: berth_binary(),
            bounds: InstanceBounds::default(),
        });
        let runtime = runtime.await.unwrap();
        runtime.settled().await;
        let mut context = deployment(InstanceId::generate(), "create/provision");
        context.uid = nix::unistd::geteuid().is_root().then(own_uid);
        context.engine = engine(&runtime).digest().clone();
        context.workload.members = vec![member()];
        context.endpoints = vec![Endpoint {
            bind_address: bind.into(),
            inner_port: Some(serve().await),
            for_members: false,
            ..endpoint(free_port())
        }];
        let mut fronted = Self {
            data,
            runtime,
            context,
        };
        fronted.choose(access);
        fronted.target().apply(&fronted.context).await.unwrap();
        fronted.wait_running().await;
        fronted
    }

    fn target(&self) -> Arc<dyn Target> {
        self.runtime.target("local").unwrap()
    }

    fn choose(&mut self, access: &[&str]) {
        self.context.access = access.iter().map(|net| net.parse().unwrap()).collect();
    }

    /// As the core does it: again, until it is done.
    async fn set_access(&mut self, access: &[&str]) {
        self.choose(access);
        wait_for("the rules to be in force", async || {
            self.target().set_access(&self.context).await.ok()
        })
        .await;
    }

    async fn state(&self) -> MemberState {
        let mut seen = self.target().observe(&self.context).await.unwrap();
        seen.remove(0).state
    }

    async fn wait_running(&self) {
        wait_for("it to run", async || {
            let runs = matches!(self.state().await, MemberState::Running { .. });
            (runs && self.proxy().is_some()).then_some(())
        })
        .await;
        wait_for("its proxy to listen", async || {
            let address = SocketAddr::new(self.reachable(), self.port());
            TcpStream::connect(address).await.ok()
        })
        .await;
    }

    async fn stop(&self) {
        wait_for("it to stop", async || {
            self.target().stop(&self.context).await.ok()
        })
        .await;
    }

    /// The process of the proxy.
    fn proxy(&self) -> Option<Process> {
        let all = self.data.processes().into_iter();
        let mut proxies = all.filter(|p| p.args[0].ends_with("/haproxy"));
        proxies.next()
    }

    fn port(&self) -> u16 {
        self.context.endpoints[0].port
    }

    fn reachable(&self) -> IpAddr {
        match &*self.context.endpoints[0].bind_address {
            "::" | "0.0.0.0" => Ipv4Addr::LOCALHOST.into(),
            other => other.parse().unwrap(),
        }
    }

    async fn connect(&self, from: IpAddr) -> Option<Client> {
        Client::connect(from, self.port()).await
    }

    async fn lets_in(&self, from: IpAddr) -> bool {
        self.connect(from).await.is_some()
    }
}

/// A connection that was let in: the server answered on it.
struct Client(TcpStream);

impl Client {
    async fn connect(from: IpAddr, port: u16) -> Option<Self> {
        let socket = match from {
            IpAddr::V4(_) => TcpSocket::new_v4().unwrap(),
            IpAddr::V6(_) => TcpSocket::new_v6().unwrap(),
        };
        socket.bind(SocketAddr::new(from, 0)).unwrap();
        let to: IpAddr = match from {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        let stream = socket.connect(SocketAddr::new(to, port)).await.ok()?;
        let mut client = Self(stream);
        client.answers().await.then_some(client)
    }

    /// Whether the server behind the proxy still talks to it.
    async fn answers(&mut self) -> bool {
        let mut byte = [0];
        self.0.write_all(b"x").await.is_ok() && self.0.read_exact(&mut byte).await.is_ok()
    }

    async fn wait_cut(mut self) {
        let mut byte = [0];
        let read = tokio::time::timeout(berth_tests::wait::PATIENCE, self.0.read(&mut byte));
        assert!(matches!(read.await, Ok(Ok(0) | Err(_))));
    }
}

/// A server that echoes. Its port.
async fn serve() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ended = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    port
}

/// Runs, and does nothing at all.
pub fn member() -> Member {
    Member {
        name: "main".into(),
        main: Command {
            program: "probe-server".into(),
            version: "1".into(),
            args: vec!["-f".into(), "/dev/null".into()],
            env: Vec::new(),
        },
        init: None,
        files: Vec::new(),
        volumes: Vec::new(),
        ports: vec![Port {
            name: "sql".into(),
            number: 4000,
            socket: None,
        }],
        stale_files: Vec::new(),
        stop: Stop {
            signal: "TERM".into(),
            grace_ms: 1000,
        },
    }
}

pub fn own_uid() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    3_100_000 + std::process::id() % 10_000 * 10 + NEXT.fetch_add(1, Ordering::Relaxed)
}

fn v4(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, last).into()
}

const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

#[tokio::test(flavor = "multi_thread")]
async fn only_the_networks_of_the_instance_are_let_in() {
    let mut fronted = Fronted::start("::", &["0.0.0.0/0"]).await;
    for (access, four, six) in [
        (&["0.0.0.0/0"] as &[&str], [true, true], false),
        // The addresses of IPv4 are part of IPv6, and yet another matter.
        (&["::/0"], [false, false], true),
        (&["127.0.0.2/32"], [true, false], false),
        (&["127.0.0.3/32", "::1/128"], [false, true], true),
        (&[], [false, false], false),
        (&["0.0.0.0/0", "::/0"], [true, true], true),
    ] {
        fronted.set_access(access).await;
        // Repeated, it is the same.
        fronted.set_access(access).await;
        let found = [fronted.lets_in(v4(2)).await, fronted.lets_in(v4(3)).await];
        assert_eq!(found, four, "{access:?}");
        assert_eq!(fronted.lets_in(V6).await, six, "{access:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_let_in_no_more_is_cut_and_nobody_else_notices() {
    let mut fronted = Fronted::start("127.0.0.1", &["127.0.0.2/32", "127.0.0.3/32"]).await;
    let proxy = fronted.proxy().unwrap().pid;
    let mut held = fronted.connect(v4(2)).await.unwrap();
    let removed = fronted.connect(v4(3)).await.unwrap();

    fronted.set_access(&["127.0.0.2/32"]).await;
    removed.wait_cut().await;
    assert!(!fronted.lets_in(v4(3)).await);
    assert!(held.answers().await);

    // Its network becomes another that holds it too, and comes and goes beside a hundred others; new connections from
    // there are let in at every moment.
    let more: Vec<String> = (1..100).map(|i| format!("127.0.1.{i}/32")).collect();
    let more: Vec<&str> = more.iter().map(String::as_str).collect();
    let port = fronted.port();
    let (stop, mut stopped) = tokio::sync::oneshot::channel();
    let watch = tokio::spawn(async move {
        let mut connections = 0_u32;
        while stopped.try_recv().is_err() {
            assert!(held.answers().await, "the held connection was cut");
            let new = Client::connect(v4(2), port).await;
            assert!(new.is_some(), "number {connections} was refused");
            connections += 1;
        }
        connections
    });
    for round in 0..10 {
        fronted.set_access(&["127.0.0.0/8"]).await;
        fronted
            .set_access(&[&["127.0.0.2/32"], more.as_slice()].concat())
            .await;
        fronted.set_access(&["127.0.0.0/29", "::/0"]).await;
        assert!(!fronted.lets_in(v4(9)).await, "{round}");
    }
    stop.send(()).unwrap();
    assert!(watch.await.unwrap() > 10);
    assert_eq!(fronted.proxy().unwrap().pid, proxy, "it was started again");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_rules_hold_after_a_restart() {
    let mut fronted = Fronted::start("127.0.0.1", &["0.0.0.0/0"]).await;
    fronted.set_access(&["127.0.0.2/32"]).await;
    let first = fronted.proxy().unwrap();
    first.kill9();
    wait_for("the shim to start it again", async || {
        fronted.proxy().filter(|proxy| proxy.pid != first.pid)
    })
    .await;
    wait_for("it to let in", async || fronted.connect(v4(2)).await).await;
    assert!(!fronted.lets_in(v4(3)).await);

    // Changed while nothing runs.
    fronted.stop().await;
    assert!(fronted.proxy().is_none());
    assert!(!fronted.lets_in(v4(2)).await);
    fronted.set_access(&["127.0.0.3/32"]).await;
    assert!(fronted.proxy().is_none(), "a change starts nothing");
    fronted.target().start(&fronted.context).await.unwrap();
    fronted.wait_running().await;
    assert!(fronted.lets_in(v4(3)).await);
    assert!(!fronted.lets_in(v4(2)).await);

    // And while it is being started again.
    fronted.proxy().unwrap().kill9();
    fronted.set_access(&["127.0.0.4/32"]).await;
    wait_for("it to let in", async || fronted.connect(v4(4)).await).await;
    assert!(!fronted.lets_in(v4(3)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_was_given_up_at_any_moment_is_brought_to_its_end() {
    let mut fronted = Fronted::start("127.0.0.1", &["127.0.0.2/32"]).await;
    let mut held = fronted.connect(v4(2)).await.unwrap();
    for delay in 0..30 {
        let other = ["127.0.0.2/32", "127.0.0.3/32", "127.0.0.5/32"];
        fronted.choose(&other[..1 + delay % 3]);
        let limit = Duration::from_micros(300 * delay as u64);
        let target = fronted.target();
        // Dropped where it is, as by a host that dies.
        let given_up = tokio::time::timeout(limit, target.set_access(&fronted.context)).await;
        drop(given_up);
        if delay % 7 == 0 {
            fronted.proxy().unwrap().kill9();
            fronted.wait_running().await;
            held = wait_for("it to let in", async || fronted.connect(v4(2)).await).await;
        }
        assert!(held.answers().await);
    }
    fronted.set_access(&["127.0.0.2/32"]).await;
    assert!(held.answers().await);
    assert!(!fronted.lets_in(v4(3)).await && !fronted.lets_in(v4(5)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_cannot_run_is_the_members_trouble() {
    let fronted = Fronted::start("127.0.0.1", &["0.0.0.0/0"]).await;
    let shim = fronted.data.processes().into_iter();
    let mut shim = shim.filter(|p| p.is_shim() && p.args.iter().any(|a| a.contains(PROXY)));
    let shim = shim.next().unwrap();
    shim.signal(nix::sys::signal::Signal::SIGSTOP);
    fronted.proxy().unwrap().kill9();
    let address = SocketAddr::new(v4(1), fronted.port());
    let thief = wait_for("its port to be free", async || {
        std::net::TcpListener::bind(address).ok()
    })
    .await;
    shim.signal(nix::sys::signal::Signal::SIGCONT);
    let why = wait_for("it to be seen", async || match fronted.state().await {
        MemberState::Restarting(why) | MemberState::Failed(why) if why.contains("bind") => {
            Some(why)
        }
        MemberState::Absent
        | MemberState::Initialising
        | MemberState::Running { .. }
        | MemberState::Restarting(_)
        | MemberState::Failed(_)
        | MemberState::Stopped => None,
    })
    .await;
    assert!(why.contains("proxy"), "{why}");
    let log = fronted.target().logs(&fronted.context, PROXY, 4096).await;
    assert!(log.unwrap().contains("cannot bind"));
    drop(thief);
    fronted.wait_running().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_a_proxy_that_is_removed() {
    let fronted = Fronted::start("127.0.0.1", &["0.0.0.0/0"]).await;
    for _ in 0..2 {
        wait_for("it to be removed", async || {
            fronted.target().remove(&fronted.context).await.ok()
        })
        .await;
        assert_eq!(fronted.data.processes().len(), 0);
        assert!(fronted.data.instance_dirs().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_from_before_binds_its_endpoint_itself() {
    let mut fronted = Fronted::start("127.0.0.1", &["0.0.0.0/0"]).await;
    fronted.stop().await;
    fronted.context.instance = InstanceId::generate();
    fronted.context.endpoints[0].inner_port = None;
    fronted.target().apply(&fronted.context).await.unwrap();
    wait_for("it to run", async || {
        matches!(fronted.state().await, MemberState::Running { .. }).then_some(())
    })
    .await;
    assert!(fronted.proxy().is_none());
    let refused = fronted.target().set_access(&fronted.context).await;
    assert!(refused.unwrap_err().public().contains("made before"));
    fronted.stop().await;
}

/// Six hours are too long for a test: another proxy has the same configuration, but for that and its port.
#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_for_long_is_let_go() {
    let fronted = Fronted::start("127.0.0.1", &["0.0.0.0/0"]).await;
    let own = fronted.proxy().unwrap();
    let folder = std::fs::read_link(format!("/proc/{}/cwd", own.pid)).unwrap();
    let config = std::fs::read_to_string(folder.join("files/proxy.cfg")).unwrap();
    for side in ["client", "server"] {
        assert!(
            config.contains(&format!("\n  timeout {side} 6h\n")),
            "{config}"
        );
    }
    let port = free_port();
    let (before, after) = (
        format!("bind 127.0.0.1:{}", fronted.port()),
        format!("bind 127.0.0.1:{port}"),
    );
    let lines = config.lines().filter(|line| !line.contains("stats socket"));
    let other: String = lines.map(|line| format!("{line}\n")).collect();
    let other = other.replace(" 6h\n", " 5s\n").replace(&before, &after);
    let file = fronted.data.path().join("other.cfg");
    std::fs::write(&file, other).unwrap();
    let mut proxy = tokio::process::Command::new(&own.args[0]);
    proxy
        .arg("-db")
        .arg("-f")
        .arg(&file)
        .current_dir(&folder)
        .kill_on_drop(true);
    let _proxy = proxy.spawn().unwrap();
    let mut busy = wait_for("it to listen", async || Client::connect(v4(2), port).await).await;
    let idle = Client::connect(v4(2), port).await.unwrap();
    let talk = tokio::spawn(async move {
        while busy.answers().await {
            elapse(Duration::from_millis(100)).await;
        }
    });
    idle.wait_cut().await;
    assert!(!talk.is_finished(), "who talks stays");
}

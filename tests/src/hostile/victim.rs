//! Whom the hostile component must not reach: another instance, with members that really listen at virtual addresses
//! of their own, and calls of its own that go on while attacks do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use berth::model::InstanceId;
use berth::model::plugin::{InstanceContext, MemberDial};
use berth::model::workload::Dial;
use berth::runtime::{Engine, Runtime};
use tokio::net::{TcpListener, UnixListener};

use super::{endpoint, secrets, spec};

/// Member, its port's name and number, and the socket that stands behind it. In its own calls they have the addresses
/// 10.0.0.1:4000, 10.0.0.1:22 and 10.0.0.2:4000.
const MEMBERS: [(&str, &str, u16, &str); 3] = [
    ("main", "sql", 4000, "main.sock"),
    ("main", "shell", 22, "shell.sock"),
    ("other", "sql", 4000, "other.sock"),
];

/// See the module's text.
pub struct Victim {
    engine: Arc<dyn Engine>,
    context: InstanceContext,
    /// The address of a port of the machine, as an endpoint has one.
    pub address: String,
    /// A path that leads from another instance's run directory to one of its sockets.
    pub socket: String,
    /// How often anybody connected, to anything of it.
    reached: Arc<AtomicUsize>,
    /// How often that was one of its own calls.
    own: AtomicUsize,
}

impl Victim {
    pub async fn open(runtime: &Runtime, engine: Arc<dyn Engine>) -> Self {
        let id = InstanceId::generate();
        let scope = runtime.directories().of(id, None);
        scope.prepare().expect("directories");
        let reached = Arc::new(AtomicUsize::new(0));
        for (_, _, _, socket) in MEMBERS {
            let listener = UnixListener::bind(scope.run_dir.join(socket)).expect("a socket");
            let reached = reached.clone();
            tokio::spawn(async move {
                while listener.accept().await.is_ok() {
                    reached.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("an address").to_string();
        let count = reached.clone();
        tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        let dials = MEMBERS.map(|(member, port_name, number, socket)| MemberDial {
            member: member.into(),
            port_name: port_name.into(),
            number,
            dial: Dial::Unix(socket.into()),
        });
        let run_dir = scope.run_dir.file_name().expect("a name").to_string_lossy();
        let victim = Self {
            engine,
            context: InstanceContext {
                id,
                spec: spec(&[]),
                slug: "victim".into(),
                endpoints: vec![endpoint()],
                secrets: secrets(),
                dials: dials.into(),
                uid: None,
            },
            address,
            socket: format!("../{run_dir}/{}", MEMBERS[0].3),
            reached,
            own: AtomicUsize::new(0),
        };
        victim.live().await;
        assert!(!victim.was_reached(), "it is alone");
        victim
    }

    /// A call of its own: it reaches every member, by the addresses that the attacks try.
    pub async fn live(&self) {
        let seen = self.engine.observe(&self.context).await;
        let seen = seen.expect("its own members are reached");
        assert_eq!(seen.len(), MEMBERS.len(), "{seen:?}");
        assert!(seen.iter().all(|member| member.ready), "{seen:?}");
        self.own.fetch_add(MEMBERS.len(), Ordering::SeqCst);
    }

    /// Whether anybody else ever connected.
    pub fn was_reached(&self) -> bool {
        self.reached.load(Ordering::SeqCst) > self.own.load(Ordering::SeqCst)
    }
}

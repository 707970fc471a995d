//! Whom the hostile component must not reach: another instance, with members that really listen at virtual addresses
//! of their own, and calls of its own that go on while attacks do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use berth::model::InstanceId;
use berth::model::plugin::{InstanceContext, MemberDial};
use berth::model::workload::Dial;
use berth::runtime::{Engine, Runtime};
use tokio::net::{TcpListener, TcpStream, UnixListener};

use super::{endpoint, secrets, spec};
use crate::wait::wait_for;

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
    pub address: SocketAddr,
    /// A path that leads from another instance's run directory to one of its sockets.
    pub socket: String,
    /// How often anybody connected to each of the sockets, and to the port.
    reached: [Arc<AtomicUsize>; MEMBERS.len() + 1],
    /// How many calls of its own there were: each connects to every socket once.
    own: AtomicUsize,
}

impl Victim {
    pub async fn open(runtime: &Runtime, engine: Arc<dyn Engine>) -> Self {
        let id = InstanceId::generate();
        let scope = runtime.directories().of(id, None);
        scope.prepare().expect("directories");
        let reached: [Arc<AtomicUsize>; MEMBERS.len() + 1] = Default::default();
        let (port, sockets) = reached.split_last().expect("there is a port");
        for ((_, _, _, socket), reached) in MEMBERS.iter().zip(sockets) {
            let listener = UnixListener::bind(scope.run_dir.join(socket)).expect("a socket");
            let reached = reached.clone();
            tokio::spawn(async move {
                while listener.accept().await.is_ok() {
                    reached.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("an address");
        let port = port.clone();
        tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                port.fetch_add(1, Ordering::SeqCst);
            }
        });
        let dials = MEMBERS.map(|(member, port_name, number, socket)| MemberDial {
            member: member.into(),
            port_name: port_name.into(),
            number,
            dial: Dial::Unix(socket.into()),
        });
        let run_dir = scope.run_dir.file_name().expect("a name").to_string_lossy();
        Self {
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
        }
    }

    /// A call of its own: it reaches every member, by the addresses that the attacks try.
    pub async fn live(&self) -> Result<(), String> {
        let seen = self.engine.observe(&self.context).await;
        let seen = seen.map_err(|error| format!("{error:?}"))?;
        let names: Vec<&str> = seen.iter().map(|member| &*member.member).collect();
        if names != ["main", "other"] || !seen.iter().all(|member| member.ready) {
            return Err(format!("its members are not reached: {seen:?}"));
        }
        self.own.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    /// Whether anybody else ever connected. To be asked once, when nobody tries any more.
    pub async fn was_reached(&self) -> bool {
        // Whoever came before this one is counted when it is: connections are accepted in their order.
        self.live().await.expect("its own members are reached");
        let last = TcpStream::connect(self.address).await;
        drop(last.expect("its port is reached"));
        let own = self.own.load(Ordering::SeqCst);
        let (port, sockets) = self.reached.split_last().expect("there is a port");
        let expected = sockets.iter().map(|count| (count, own));
        let mut reached = false;
        for (count, own) in expected.chain([(port, 1)]) {
            let count = wait_for("its own connections to be counted", async || {
                let count = count.load(Ordering::SeqCst);
                (count >= own).then_some(count)
            });
            reached |= count.await > own;
        }
        reached
    }
}

//! A real server, run from the engine's own plan as a target would run it.

use std::fs;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use berth_sdk::Error;
use berth_sdk::engine::{Credentials, Instance, Login, MemberAddress, Provisioning};
use berth_sdk::types::{self, Endpoint, Member, Setting, Spec, Workload};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::by_tls::carry_by_tls;
use crate::place::Place;
use crate::relay::{Gate, Relay};
use crate::secrets;

/// How long anything may take on a busy machine before it counts as never.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long one that is dropped may take to end by itself.
const END: Duration = Duration::from_secs(5);
/// How long what one that ended leaves behind may take to end too.
const LEFT: Duration = Duration::from_secs(60);

/// A server of the engine `E`, or several where its plan has several members. They end with this value, and their
/// directories are removed.
pub struct Server<E> {
    /// What the engine's functions are given.
    pub instance: Instance,
    workload: Workload,
    /// As the workload has the members.
    nodes: Vec<Node>,
    gate: Gate,
    programs: Box<dyn Fn(&str) -> PathBuf + Send + Sync>,
    engine: PhantomData<fn() -> E>,
}

/// Where a member is, and its process when it runs.
struct Node {
    place: Place,
    process: Option<Child>,
}

/// A spec with nothing chosen but the version: one member with 512 MiB and a storage of 1 GiB.
pub fn spec(version: &str) -> Spec {
    Spec {
        id: "0198c0de-0000-7000-8000-000000000001".into(),
        name: "real one".into(),
        slug: "real-one".into(),
        version: version.into(),
        ..Spec::of_size(512 << 20, 1 << 30)
    }
}

/// Settings as a spec has them.
pub fn chosen(settings: &[(&str, &str)]) -> Vec<Setting> {
    let own = |(name, value): &(&str, &str)| Setting {
        name: (*name).into(),
        value: (*value).into(),
    };
    settings.iter().map(own).collect()
}

impl<E: Provisioning + Credentials> Server<E> {
    /// Initialise and start one; it is not ready yet when this returns. `programs` finds the file of a program that the plan
    /// names.
    pub fn start(spec: Spec, programs: impl Fn(&str) -> PathBuf + Send + Sync + 'static) -> Self {
        let workload = E::plan(spec.clone()).expect("a plan");
        let mut places: Vec<Place> = workload.members.iter().map(Place::new).collect();
        let login = E::first_login(spec.clone()).expect("a login");
        let secrets = secrets::values(&workload.secrets, &login.secret);
        let endpoints: Vec<_> = workload
            .endpoints
            .iter()
            .map(|planned| {
                let mut members = workload.members.iter().zip(&places);
                let behind = members.find(|(member, _)| member.name == planned.member);
                endpoint(planned, behind.expect("the endpoint's member").1)
            })
            .collect();
        for place in &mut places {
            place.put_secrets(&secrets);
            for Endpoint {
                name, host, port, ..
            } in &endpoints
            {
                place.put(format!("endpoint:{name}"), format!("{host}:{port}"));
                place.put(format!("endpoint:{name}.host"), host.clone());
                place.put(format!("endpoint:{name}.port"), port.to_string());
            }
        }
        let gate = Gate::open();
        let members = workload.members.iter().zip(&places);
        let members = members.flat_map(|(member, place)| reached(member, place, &gate));
        let members = members.collect();
        let nodes = places.into_iter().map(|place| Node {
            place,
            process: None,
        });
        let instance = Instance {
            spec,
            members,
            endpoints,
            secrets,
        };
        let mut server = Self {
            instance,
            workload,
            nodes: nodes.collect(),
            gate,
            programs: Box::new(programs),
            engine: PhantomData,
        };
        server.initialise();
        server.run();
        server
    }

    /// Start the main program of every member whose does not run.
    pub fn run(&mut self) {
        for (member, node) in self.workload.members.iter().zip(&mut self.nodes) {
            if node.process.is_some() {
                continue;
            }
            let place = &node.place;
            for stale in &member.stale_files {
                let (volume, path) = stale.split_once('/').expect("VOLUME/PATH");
                let volume = PathBuf::from(place.value(&format!("volume:{volume}")));
                drop(fs::remove_file(volume.join(path)));
            }
            let log = fs::File::options()
                .create(true)
                .append(true)
                .open(place.path("log"))
                .expect("the log");
            let errors = log.try_clone().expect("the log");
            let program = (self.programs)(&member.main.program);
            let mut command = place.command(&program, &member.main);
            let process = command.stdout(log).stderr(errors).spawn();
            node.process = Some(process.expect("a server"));
        }
    }

    /// Plan it with these settings in place of all that were chosen, and write the files, as before a reload.
    pub fn configure(&mut self, settings: &[(&str, &str)]) {
        self.instance.spec.settings = chosen(settings);
        self.plan_anew();
    }

    /// Plan it anew, after something of the spec was changed, and write the files.
    pub fn plan_anew(&mut self) {
        self.workload = E::plan(self.instance.spec.clone()).expect("a plan");
        for (member, node) in self.workload.members.iter().zip(&mut self.nodes) {
            node.place.write(&member.files);
        }
    }

    /// Another certificate in the files.
    pub fn renew_certificate(&mut self) {
        let login = self.login();
        let mut secrets = secrets::values(&self.workload.secrets, &login.secret);
        // Passwords come out as they were; one that a test changed stays.
        secrets.retain(|secret| secret.name.contains('.'));
        for node in &mut self.nodes {
            node.place.put_secrets(&secrets);
        }
        self.instance
            .secrets
            .retain(|secret| !secret.name.contains('.'));
        self.instance.secrets.extend(secrets);
        self.plan_anew();
    }

    /// Stop it as its plan says, start it anew, and wait until it is ready.
    pub fn restart(&mut self) {
        let status = self.stop();
        assert!(status.success(), "{status}\n{}", self.log());
        self.run();
        self.ready();
    }

    /// Stop it as its plan says.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(self.stop_signal())
    }

    /// Send it a signal, and wait for its end.
    pub fn signal(&mut self, signal: Signal) -> ExitStatus {
        self.send(signal);
        self.reap()
    }

    /// Send one member's server a signal, the first being number 0, and wait for its end.
    pub fn signal_one(&mut self, nth: usize, signal: Signal) -> ExitStatus {
        self.nodes[nth].send(signal);
        self.nodes[nth].reap()
    }

    /// Send it a signal.
    pub fn send(&self, signal: Signal) {
        self.nodes.iter().for_each(|node| node.send(signal));
    }

    /// Wait for its end, which somebody else brings about. Of several the first that was no good counts.
    pub fn reap(&mut self) -> ExitStatus {
        let ends: Vec<_> = self.nodes.iter_mut().map(Node::reap).collect();
        let bad = ends.iter().find(|status| !status.success());
        *bad.or(ends.first()).expect("a member")
    }

    /// The process's number, of several the first's.
    pub fn pid(&self) -> u32 {
        self.node().pid()
    }

    /// What the system shows everybody of the running server.
    pub fn arguments(&self) -> String {
        let read = fs::read(format!("/proc/{}/cmdline", self.pid())).expect("its arguments");
        String::from_utf8_lossy(&read).into_owned()
    }

    /// All that it wrote to its output, of several one after the other.
    pub fn log(&self) -> String {
        let logs = self.nodes.iter().map(|node| {
            let log = fs::read(node.place.path("log")).expect("the log");
            String::from_utf8_lossy(&log).into_owned()
        });
        logs.collect()
    }

    /// What a placeholder stands for, e.g. `volume:data`, `file:server.crt` or `run`; of several members for the first.
    pub fn value(&self, placeholder: &str) -> &str {
        self.node().place.value(placeholder)
    }

    /// The same for any member, the first being number 0.
    pub fn value_at(&self, nth: usize, placeholder: &str) -> &str {
        self.nodes[nth].place.value(placeholder)
    }

    /// The file of a program that plans name, or of one beside it.
    pub fn program(&self, name: &str) -> PathBuf {
        (self.programs)(name)
    }

    /// The spec as it is now.
    pub fn spec(&self) -> &Spec {
        &self.instance.spec
    }

    /// The first way in for clients.
    pub fn endpoint(&self) -> &Endpoint {
        self.instance.endpoints.first().expect("an endpoint")
    }

    /// The value of a secret, or of one part of it (`tls.ca`).
    pub fn secret(&self, name: &str) -> String {
        let value = self.instance.secret(name);
        value.expect("a secret that the plan asks for").to_owned()
    }

    /// The first user's login.
    pub fn login(&self) -> Login {
        E::first_login(self.spec().clone()).expect("a login")
    }

    /// The first user's password. It has everything in it that wants quoting.
    pub fn password(&self) -> String {
        self.secret(&self.login().secret)
    }

    /// A connection string for anybody.
    pub fn uri_of(&self, login: Login, password: &str) -> String {
        let (spec, endpoint) = (self.spec().clone(), self.endpoint().clone());
        let connection = E::connect(spec, endpoint, login, password.into());
        connection.expect("a connection").uri
    }

    /// The first user's connection string.
    pub fn uri(&self) -> String {
        self.uri_of(self.login(), &self.password())
    }

    /// Bootstrap, as often as the engine asks for it.
    pub fn bootstrap(&self) {
        self.until(|| E::bootstrap(self.instance.clone()));
    }

    /// Wait until it serves, changing nothing.
    pub fn ready(&self) {
        self.until(|| {
            let seen = E::observe(self.instance.clone())?;
            if seen.iter().all(|member| member.ready) && !seen.is_empty() {
                return Ok(());
            }
            let short = Duration::from_millis(10);
            Err(Error::retry(short, "it is not ready"))
        });
    }

    /// Ask as often as the engine says that it is to be asked again, and waiting as long as it says.
    pub fn until(&self, what: impl Fn() -> Result<(), Error>) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match what() {
                Ok(()) => return,
                Err(Error::RetryAfter(retry)) => {
                    let said = &retry.reason;
                    assert!(Instant::now() < deadline, "{said}\n{}", self.log());
                    thread::sleep(Duration::from_millis(retry.after_ms.into()));
                }
                Err(error) => panic!("{error:?}\n{}", self.log()),
            }
        }
    }

    /// The certificate that clients are shown now, as `openssl s_client` sees it with these arguments, such as `-starttls`.
    pub fn certificate(&self, how: &[&str]) -> String {
        let endpoint = self.endpoint();
        let shown = Command::new("openssl")
            .args(["s_client", "-connect"])
            .arg(format!("{}:{}", endpoint.host, endpoint.port))
            .args(how)
            .stdin(Stdio::null())
            .output()
            .expect("openssl");
        let text = String::from_utf8_lossy(&shown.stdout).into_owned();
        let begin = text.find("-----BEGIN").expect("a certificate");
        let end = text.find("-----END").expect("a certificate's end");
        text[begin..end].to_owned()
    }

    /// On every way to its sockets.
    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }

    fn initialise(&mut self) {
        for (member, node) in self.workload.members.iter().zip(&mut self.nodes) {
            node.place.write(&member.files);
            for task in member.init.iter().flat_map(|init| &init.tasks) {
                let program = (self.programs)(&task.program);
                let mut command = node.place.command(&program, task);
                let output = command.output().expect("an init task");
                let said = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{said}");
            }
        }
    }

    fn node(&self) -> &Node {
        self.nodes.first().expect("a member")
    }
}

impl Node {
    fn pid(&self) -> u32 {
        self.process.as_ref().expect("a running server").id()
    }

    fn send(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).expect("a pid"));
        kill(pid, signal).expect("a signal");
    }

    fn reap(&mut self) -> ExitStatus {
        let mut process = self.process.take().expect("a running server");
        let ended = process.wait().expect("an end");
        let begun = Instant::now();
        while !self.place.is_left() {
            assert!(begun.elapsed() < LEFT, "processes of the server stay");
            thread::sleep(Duration::from_millis(10));
        }
        ended
    }
}

impl<E> Server<E> {
    /// The signal by which its plan has it stopped.
    pub fn stop_signal(&self) -> Signal {
        let member = self.workload.members.first().expect("a member");
        let name = &member.stop.signal;
        format!("SIG{name}").parse().expect("a signal")
    }
}

/// A test that failed has left it running.
impl<E> Drop for Server<E> {
    fn drop(&mut self) {
        let signal = self.stop_signal();
        let running = self.nodes.iter_mut().filter_map(|node| node.process.take());
        let mut running: Vec<Child> = running.collect();
        for process in &running {
            let pid = Pid::from_raw(i32::try_from(process.id()).unwrap_or_default());
            // Where it is gone already the next lines find that out.
            let _ = kill(pid, signal);
        }
        let deadline = Instant::now() + END;
        for process in &mut running {
            while Instant::now() < deadline && matches!(process.try_wait(), Ok(None)) {
                thread::sleep(Duration::from_millis(10));
            }
            drop(process.kill());
            drop(process.wait());
        }
    }
}

fn endpoint(planned: &types::EndpointPlan, place: &Place) -> Endpoint {
    Endpoint {
        name: planned.name.clone(),
        member: planned.member.clone(),
        port_name: planned.port.clone(),
        bind_address: "127.0.0.1".into(),
        host: "127.0.0.1".into(),
        port: place.port(&planned.port),
        inner_port: None,
        for_members: planned.for_members,
    }
}

/// Its ports as an engine reaches them: by a socket where there is one, as the host prefers it.
fn reached(member: &Member, place: &Place, gate: &Gate) -> Vec<MemberAddress> {
    let address = |port: &types::Port| match &port.socket {
        Some(name) => {
            let run = PathBuf::from(place.value("run"));
            let socket = run.join(place.filled(name, false));
            let by_tls = socket.to_string_lossy().into_owned();
            let relay = Relay::to(socket, gate);
            let number = relay.address().port();
            carry_by_tls(number, &["-unix", &by_tls], gate.clone());
            relay.address().to_string()
        }
        None => {
            let number = place.port(&port.name);
            let address = format!("127.0.0.1:{number}");
            carry_by_tls(number, &["-connect", &address], Gate::open());
            address
        }
    };
    let members = member.ports.iter().map(|port| MemberAddress {
        member: member.name.clone(),
        port_name: port.name.clone(),
        address: address(port),
    });
    members.collect()
}

//! The machine that the fakes act on. It knows what lives there, and what must never have been asked of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use berth::model::plugin::{Secrets, TargetContext};
use berth::model::{Error, InstanceId, Result, Secret};

use super::gate::Gate;

/// Clones are the same world.
#[derive(Clone, Default)]
pub struct World(Arc<Mutex<Inner>>);

/// What the fakes are asked. Only calls that reach a plugin while an operation is carried out count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Plan,
    Bootstrap,
    EngineObserve,
    FirstLogin,
    Verify,
    Rotate,
    Reload,
    SetAccess,
    Apply,
    TargetObserve,
    Start,
    Stop,
    Remove,
    Logs,
    Usage,
}

/// How a call goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It says that a repetition will not help.
    Fails,
    /// It says: not yet.
    NotYet,
    /// It says: not before a minute has passed.
    MuchLater,
    /// The plugin is not there now.
    Gone,
    Panics,
    /// It never answers.
    Hangs,
}

/// Whether the call has acted when it goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Before,
    After,
}

/// How the machine behaves when nothing goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behaviour {
    /// How often a new server is looked at before it runs.
    pub looks_until_running: u32,
    /// How often a stop must be asked for.
    pub stops_until_ended: u32,
    /// How often a removal must be asked for.
    pub removals_until_gone: u32,
    /// Servers end for good, and this is why.
    pub servers_die: Option<String>,
    /// Servers refuse their users' passwords.
    pub refuses_passwords: bool,
    /// Engines never answer a look at these.
    pub hanging: BTreeSet<InstanceId>,
    /// The target never answers how much the volumes hold.
    pub usage_hangs: bool,
    /// Every look at what the target runs fails, and this is why.
    pub looks_fail: Option<String>,
    /// Every stop fails, and this is why.
    pub stop_fails: Option<String>,
    /// Every removal fails, and this is why.
    pub removal_fails: Option<String>,
    /// `${secret:NAME}` in it is the value of a secret.
    pub log: String,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            looks_until_running: 2,
            stops_until_ended: 2,
            removals_until_gone: 2,
            servers_die: None,
            refuses_passwords: false,
            hanging: BTreeSet::new(),
            usage_hangs: false,
            looks_fail: None,
            stop_fails: None,
            removal_fails: None,
            log: "the server's last words\n".to_owned(),
        }
    }
}

/// What exists of an instance.
#[derive(Clone, Debug)]
pub struct Live {
    pub applied: TargetContext,
    pub running: bool,
    pub looks: u32,
    pub stops: u32,
    pub removals: u32,
    /// How often its server was started.
    pub starts: u32,
    /// Passwords by user, as the server knows them.
    pub users: BTreeMap<String, Secret>,
    /// What its server runs with: settings, and the certificate it shows.
    pub in_force: InForce,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InForce {
    pub settings: BTreeMap<String, String>,
    pub certificate: Option<Secret>,
}

/// A value that a running server refuses, and with which none can be started.
pub const BAD: &str = "13";

#[derive(Default)]
struct Inner {
    live: BTreeMap<InstanceId, Live>,
    behaviour: Behaviour,
    calls: Vec<Call>,
    faults: BTreeMap<usize, (Fault, When)>,
    violations: Vec<String>,
    secrets_seen: BTreeSet<String>,
    gate: Option<Gate>,
}

impl World {
    pub fn new() -> Self {
        Self::default()
    }

    /// How many instances have anything at all on this machine.
    pub fn live_count(&self) -> usize {
        self.lock().live.len()
    }

    pub fn live(&self, id: InstanceId) -> Option<Live> {
        self.lock().live.get(&id).cloned()
    }

    /// All calls that were made, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.lock().calls.clone()
    }

    pub fn forget_calls(&self) {
        let mut inner = self.lock();
        inner.calls.clear();
        inner.faults.clear();
    }

    /// What must never have been asked of this machine, but was.
    pub fn violations(&self) -> Vec<String> {
        self.lock().violations.clone()
    }

    /// Let call number `number` go wrong, counted from 1.
    pub fn fault_at(&self, number: usize, fault: Fault, when: When) {
        self.lock().faults.insert(number, (fault, when));
    }

    pub fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.lock().behaviour);
    }

    pub(super) fn hangs(&self, id: InstanceId) -> bool {
        self.lock().behaviour.hanging.contains(&id)
    }

    /// The server of an instance dies and is not started again.
    pub fn kill_server(&self, id: InstanceId) {
        if let Some(live) = self.lock().live.get_mut(&id) {
            live.running = false;
        }
    }

    /// The server of an instance is there again.
    pub fn revive_server(&self, id: InstanceId) {
        if let Some(live) = self.lock().live.get_mut(&id) {
            live.running = true;
        }
    }

    /// Hold call number `number` before it acts.
    pub fn hold(&self, number: usize) -> Gate {
        let gate = Gate::at(number as u64);
        self.lock().gate = Some(gate.clone());
        gate
    }

    /// Whether a text shows a secret that this machine was ever given.
    pub fn shows_secret(&self, text: &str) -> bool {
        self.lock()
            .secrets_seen
            .iter()
            .any(|secret| text.contains(secret))
    }

    /// Make a call: `act` on the machine, unless the call was told to go wrong before that.
    pub(super) async fn call<T>(
        &self,
        call: Call,
        act: impl FnOnce(&mut Machine<'_>) -> Result<T> + Send,
    ) -> Result<T> {
        // A plugin's call never answers at once: others get their turn in between.
        tokio::task::yield_now().await;
        let (number, fault, gate) = {
            let mut inner = self.lock();
            inner.calls.push(call);
            let number = inner.calls.len();
            let gate = inner.gate.clone();
            let gate = gate.filter(|gate| gate.is_at(number as u64));
            (number, inner.faults.get(&number).copied(), gate)
        };
        if let Some(gate) = gate {
            gate.pass().await;
        }
        if let Some((fault, When::Before)) = fault {
            return Err(go_wrong(fault, number, call).await);
        }
        let answer = {
            let mut inner = self.lock();
            let Inner {
                live,
                behaviour,
                violations,
                secrets_seen,
                ..
            } = &mut *inner;
            act(&mut Machine {
                live,
                behaviour,
                violations,
                secrets_seen,
            })
        };
        match fault {
            Some((fault, When::After)) => Err(go_wrong(fault, number, call).await),
            Some((_, When::Before)) | None => answer,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The world while a call acts on it.
pub(super) struct Machine<'a> {
    pub live: &'a mut BTreeMap<InstanceId, Live>,
    pub behaviour: &'a Behaviour,
    violations: &'a mut Vec<String>,
    secrets_seen: &'a mut BTreeSet<String>,
}

impl Machine<'_> {
    pub fn forbid(&mut self, what: impl Into<String>) {
        self.violations.push(what.into());
    }

    /// Make it, or see that it is what was made before.
    pub fn apply(&mut self, context: &TargetContext) {
        let id = context.instance;
        let passwords = context.secrets.values().map(Secret::expose);
        let passwords = passwords.filter(|value| !value.contains('\n'));
        self.secrets_seen.extend(passwords.map(str::to_owned));
        for request in &context.workload.secrets {
            let named = |name: &&String| name.split('.').next() == Some(&request.name);
            if !context.secrets.keys().any(|name| named(&name)) {
                self.forbid(format!(
                    "{id} was applied without its secret {}",
                    request.name
                ));
            }
        }
        let taken = self.live.iter().find(|(other, live)| {
            **other != id
                && (shares_port(&live.applied, context) || shares_uid(&live.applied, context))
        });
        if let Some((other, _)) = taken {
            let other = *other;
            self.forbid(format!("{id} was applied on a port or user of {other}"));
        }
        // Certificates are renewed; nothing else is ever made anew.
        let passwords = |secrets: &Secrets| -> Vec<Secret> {
            let values = secrets
                .values()
                .filter(|value| !value.expose().contains('\n'));
            values.cloned().collect()
        };
        let differs = self.live.get(&id).is_some_and(|live| {
            passwords(&live.applied.secrets) != passwords(&context.secrets)
                || live.applied.endpoints != context.endpoints
        });
        if differs {
            self.forbid(format!(
                "{id} was applied again with other secrets or ports"
            ));
        }
        let live = self.live.entry(id).or_insert_with(|| Live {
            applied: context.clone(),
            running: false,
            looks: 0,
            stops: 0,
            removals: 0,
            starts: 0,
            users: BTreeMap::new(),
            in_force: InForce::default(),
        });
        live.stops = 0;
        live.applied = context.clone();
        if !live.running {
            live.running = true;
            live.looks = 0;
            live.starts += 1;
            live.in_force = InForce::of(context);
        }
    }

    /// Have the server take what it can while it runs, and say what waits for a restart. An engine that tells its server
    /// each setting goes by those that it is given: they must be those that stand in the files.
    pub fn reload(&mut self, id: InstanceId, told: &[(String, String)]) -> Result<Vec<String>> {
        let live = self.live.get_mut(&id).filter(|live| live.running);
        let live = live.ok_or_else(|| Error::failed("the server does not answer"))?;
        let wanted = InForce::of(&live.applied);
        let told: BTreeMap<String, String> = told.iter().cloned().collect();
        if told != wanted.settings {
            self.violations.push(format!(
                "{id} was told {told:?} where {:?} was planned",
                wanted.settings
            ));
        }
        live.in_force.certificate = wanted.certificate;
        if wanted
            .settings
            .get("live")
            .is_some_and(|value| value == BAD)
        {
            return Err(Error::invalid_field("live", "is refused by the server", ""));
        }
        match wanted.settings.get("live") {
            Some(value) => live
                .in_force
                .settings
                .insert("live".to_owned(), value.clone()),
            None => live.in_force.settings.remove("live"),
        };
        let differ = wanted.settings.get("slow") != live.in_force.settings.get("slow");
        Ok(differ.then(|| "slow".to_owned()).into_iter().collect())
    }

    /// Tell the server a user's password. One that it knows may only change by a rotation.
    pub fn bootstrap(&mut self, id: InstanceId, user: &str, secrets: &Secrets, secret: &str) {
        let Some(password) = secrets.get(secret).cloned() else {
            return self.forbid(format!("{id} was bootstrapped without the secret {secret}"));
        };
        let Some(live) = self.live.get_mut(&id) else {
            return self.forbid(format!("{id} was bootstrapped before it was there"));
        };
        let known = live.users.insert(user.to_owned(), password.clone());
        if known.is_some_and(|known| known != password) {
            self.forbid(format!("{id} was bootstrapped again with another password"));
        }
    }
}

impl InForce {
    fn of(context: &TargetContext) -> Self {
        let members = context.workload.members.iter();
        Self {
            settings: members.flat_map(|member| member.main.env.clone()).collect(),
            certificate: context.secrets.get("tls.cert").cloned(),
        }
    }
}

fn shares_port(one: &TargetContext, other: &TargetContext) -> bool {
    let ports = |context: &TargetContext| -> Vec<u16> {
        context
            .endpoints
            .iter()
            .map(|endpoint| endpoint.port)
            .collect()
    };
    ports(one).iter().any(|port| ports(other).contains(port))
}

fn shares_uid(one: &TargetContext, other: &TargetContext) -> bool {
    one.uid.is_some() && one.uid == other.uid
}

async fn go_wrong(fault: Fault, number: usize, call: Call) -> Error {
    match fault {
        Fault::Fails => Error::failed(format!("call {number} ({call:?}) failed")),
        Fault::NotYet => Error::retry(Duration::from_millis(40), format!("{call:?}: not yet")),
        Fault::MuchLater => Error::retry(Duration::from_secs(60), format!("{call:?}: later")),
        Fault::Gone => Error::unavailable(format!("{call:?}: the plugin is not there")),
        // A panic that the process's hook does not print: it happens a thousand times.
        Fault::Panics => std::panic::resume_unwind(Box::new("on purpose")),
        Fault::Hangs => std::future::pending().await,
    }
}

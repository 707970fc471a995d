//! What a shim does with its member: bring the processes in line with what the host wants, whatever happens.
//!
//! A state machine without threads or waiting: `advance` does what can be done now and says when to come back.
//! It never starts a server while a process of an earlier run lives.

mod bounds;
mod report;
mod start;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::sys::wait::WaitStatus;
use rustix::process::Signal;

use super::files;
use super::group::{Group, Shortages};
use super::job::Job;
use super::leftovers::Search;
use super::log::Log;
use super::proc;
use super::restart::{End, Failures};
use super::running::{Running, describe};
use super::wire::{Home, Role, Service, Started, State, Status, StopSignal};
use crate::model::confinement::Confinement;

/// Between two looks for processes that were told to end.
const CLEAR: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(500));

#[derive(Debug)]
pub struct Member {
    home: Home,
    service: Service,
    wanted: bool,
    /// The shim itself was asked to end: by an operator, or because the machine goes down.
    terminating: bool,
    phase: Phase,
    not_before: Option<Instant>,
    failures: Failures,
    last_end: Option<String>,
    restarts: u32,
    log: Log,
    waker: UnixStream,
    recorded: Option<Status>,
    /// Its control groups, when it has some.
    group: Group,
    /// How often memory had run out at the last look.
    shortages: Shortages,
    /// How it is held, as it was last recorded.
    shown: Confinement,
    /// What was last said of what cannot be had.
    said: Option<String>,
}

#[derive(Debug)]
enum Phase {
    /// Everything that is left of an earlier run is being ended.
    Clearing {
        pause: Duration,
    },
    /// Nothing of the member lives.
    Idle,
    /// The volume is being wiped, or made to last.
    Working(Job),
    Initialising {
        task: Running,
        index: usize,
    },
    Running(Running),
    Stopping {
        server: Running,
        kill_at: Instant,
    },
    /// There is nothing left to do.
    Ended,
}

/// What to do after a step.
enum Then {
    Again,
    Wait(Option<Instant>),
}

impl Member {
    /// Take up what an earlier shim left. `waker` is written to when a job is done.
    pub fn open(home: Home, waker: UnixStream) -> io::Result<Self> {
        let service: Service = files::read(&home.service())?
            .ok_or_else(|| io::Error::other("the member has no service"))?;
        let before: Option<Status> = files::read(&home.state())?;
        let started: Option<Started> = files::read(&home.started())?;
        let log = Log::new(home.log_dir(), service.uid);
        let group = Group::recorded(&home);
        let shown: Option<Confinement> = files::read(&home.confinement())?;
        let mut member = Self {
            wanted: home.wanted().try_exists()?,
            terminating: false,
            phase: clearing(),
            not_before: None,
            failures: Failures::default(),
            last_end: None,
            restarts: before.map_or(0, |status| status.restarts),
            recorded: None,
            shortages: group.shortages(),
            group,
            shown: shown.unwrap_or_default(),
            said: None,
            home,
            service,
            log,
            waker,
        };
        if let Some(started) = started {
            member.adopt(started);
        }
        // Before anything is started: what an earlier shim recorded, `Stopped` above all, holds no more.
        member.record();
        Ok(member)
    }

    fn adopt(&mut self, started: Started) {
        match (started.role, Running::adopt(&started)) {
            (Role::Main, Some(server)) => {
                self.log
                    .note(&format!("took over process {}", server.pid()));
                self.phase = Phase::Running(server);
            }
            // An init task that lost its shim is ended with everything else, and the volume wiped.
            (Role::Init, Some(_) | None) => {}
            (Role::Main, None) => {
                let meant_to_run = matches!(
                    files::read::<Status>(&self.home.state()),
                    Ok(Some(Status {
                        state: State::Running(_),
                        ..
                    }))
                );
                if meant_to_run {
                    self.last_end = Some("it ended while nobody watched".to_owned());
                    self.restarts += 1;
                }
            }
        }
    }

    /// Read again what the host wants.
    pub fn reload(&mut self) {
        // Without a service it was removed.
        let service = files::read::<Service>(&self.home.service()).ok().flatten();
        let wanted = service.is_some() && self.home.wanted().try_exists().unwrap_or(self.wanted);
        let changed = service
            .as_ref()
            .is_some_and(|service| service.generation != self.service.generation);
        if changed || (wanted && !self.wanted) {
            self.failures = Failures::default();
            self.not_before = None;
            self.last_end = None;
        }
        if let Some(service) = service {
            let before = std::mem::replace(&mut self.service, service);
            self.adjust(before.confines.as_ref());
        }
        self.wanted = wanted;
    }

    /// Stop the server and then end, without a change of what is wanted.
    pub fn terminate(&mut self) {
        self.terminating = true;
    }

    pub fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }

    /// Readable when a process has ended that is not a child.
    pub fn watched(&self) -> Option<BorrowedFd<'_>> {
        let (Phase::Running(server) | Phase::Stopping { server, .. }) = &self.phase else {
            return None;
        };
        (!server.is_child()).then(|| server.fd().as_fd())
    }

    /// What grows while nobody asks: the log, and the number of processes that were killed for memory.
    pub fn look_around(&mut self) -> Duration {
        if let Some(words) = self.shortage() {
            self.log.note(&format!("a process of it ended: {words}"));
        }
        self.log.look()
    }

    /// A child has ended: one of ours, or an orphan that came to us.
    pub fn reaped(&mut self, status: WaitStatus) {
        let pid = status.pid().map(nix::unistd::Pid::as_raw);
        let (how, killed) = describe(status);
        let succeeded = matches!(status, WaitStatus::Exited(_, 0));
        self.phase = match std::mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Initialising { task, index } if pid == Some(task.pid()) => {
                self.task_ended(index, succeeded, &how)
            }
            Phase::Running(server) if pid == Some(server.pid()) => {
                self.server_ended(&server, &how, killed)
            }
            Phase::Stopping { server, .. } if pid == Some(server.pid()) => self.stopped(&how),
            other => other,
        };
    }

    fn look_at_adopted(&mut self) {
        let ended = match &self.phase {
            Phase::Running(server) | Phase::Stopping { server, .. } => {
                !server.is_child() && !server.is_alive()
            }
            _ => false,
        };
        if !ended {
            return;
        }
        let how = "it ended, and how is not known, because another shim had started it";
        self.phase = match std::mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Running(server) => self.server_ended(&server, how, true),
            Phase::Stopping { .. } => self.stopped(how),
            other => other,
        };
    }

    fn task_ended(&mut self, index: usize, succeeded: bool, how: &str) -> Phase {
        let tasks = self
            .service
            .init
            .as_ref()
            .map_or(0, |init| init.tasks.len());
        if !succeeded {
            let mut how = format!("init task {} of {tasks} failed: {how}", index + 1);
            if let Some(words) = self.shortage() {
                how = format!("{how}: {words}");
            }
            return self.failed(End::Init, &how);
        }
        if index + 1 < tasks {
            return self.start_task(index + 1);
        }
        match self.volume() {
            Ok(Some(volume)) => Phase::Working(Job::start(&self.waker, move || volume.complete())),
            Ok(None) => Phase::Idle,
            Err(error) => self.failed(End::Init, &format!("the volume is gone: {error}")),
        }
    }

    fn server_ended(&mut self, server: &Running, how: &str, killed: bool) -> Phase {
        self.restarts += 1;
        let ran = server.age();
        if let Some(words) = self.shortage() {
            // It would take as much again: it is no victim.
            return self.failed(End::Server(ran), &format!("{how}: {words}"));
        }
        let end = if killed {
            End::Killed(ran)
        } else {
            End::Server(ran)
        };
        self.failed(end, how)
    }

    fn stopped(&mut self, how: &str) -> Phase {
        self.log.note(&format!("stopped: {how}"));
        self.last_end = None;
        clearing()
    }

    /// Note it and try again after a pause.
    fn failed(&mut self, end: End, how: &str) -> Phase {
        // Shown to the instance's owner, who need not know where it is on the host.
        let place = self.service.instance_dir.to_string_lossy();
        let words = self.log.last_words().replace(&*place, "…");
        self.log.note(how);
        let pause = self.failures.after(end);
        self.not_before = Some(Instant::now() + pause);
        self.last_end = Some(match words.is_empty() {
            true => how.to_owned(),
            false => format!("{how}; its last words: {words}"),
        });
        clearing()
    }

    fn is_to_run(&self) -> bool {
        self.wanted && !self.terminating
    }

    /// Do all that can be done now. Answers when to come back at the latest.
    pub fn advance(&mut self) -> Option<Instant> {
        self.look_at_adopted();
        loop {
            let phase = std::mem::replace(&mut self.phase, Phase::Ended);
            let (phase, then) = self.step(phase);
            self.phase = phase;
            if let Then::Wait(until) = then {
                self.record();
                return until;
            }
        }
    }

    fn step(&mut self, phase: Phase) -> (Phase, Then) {
        match phase {
            Phase::Clearing { pause } => self.clear(pause),
            Phase::Idle => self.begin(),
            Phase::Working(job) => match job.poll() {
                None => (Phase::Working(job), Then::Wait(None)),
                Some(Ok(())) => (Phase::Idle, Then::Again),
                Some(Err(error)) => {
                    let how = format!("the volume could not be prepared: {error}");
                    (self.failed(End::Init, &how), Then::Again)
                }
            },
            Phase::Initialising { task, index } => {
                if self.is_to_run() && task.generation() == self.service.generation {
                    return (Phase::Initialising { task, index }, Then::Wait(None));
                }
                (clearing(), Then::Again)
            }
            Phase::Running(server) => {
                if self.is_to_run() && server.generation() == self.service.generation {
                    return (Phase::Running(server), Then::Wait(None));
                }
                self.stop(server)
            }
            Phase::Stopping { server, kill_at } => {
                let now = Instant::now();
                if now < kill_at {
                    return (
                        Phase::Stopping { server, kill_at },
                        Then::Wait(Some(kill_at)),
                    );
                }
                self.log.note("it did not end in time and is killed");
                self.tell(&server, Signal::KILL);
                let kill_at = now + Duration::from_secs(1);
                (
                    Phase::Stopping { server, kill_at },
                    Then::Wait(Some(kill_at)),
                )
            }
            Phase::Ended => (Phase::Ended, Then::Wait(None)),
        }
    }

    fn clear(&mut self, pause: Duration) -> (Phase, Then) {
        match Search::member(&self.home, &self.service).find() {
            Ok(left) if left.is_empty() => return (Phase::Idle, Then::Again),
            Ok(left) => {
                self.group.kill();
                proc::kill(&left);
            }
            Err(error) => {
                let unknown = format!("cannot tell what is left of it: {error}");
                self.log.note(&unknown);
            }
        }
        let again = Instant::now() + pause;
        let pause = (pause * 2).min(CLEAR.1);
        (Phase::Clearing { pause }, Then::Wait(Some(again)))
    }

    fn stop(&mut self, server: Running) -> (Phase, Then) {
        self.log.note(&format!("stopping process {}", server.pid()));
        self.tell(
            &server,
            match self.service.stop_signal {
                StopSignal::Term => Signal::TERM,
                StopSignal::Int => Signal::INT,
                StopSignal::Quit => Signal::QUIT,
            },
        );
        let grace = Duration::from_millis(self.service.stop_grace_ms.into());
        let kill_at = Instant::now() + grace;
        (Phase::Stopping { server, kill_at }, Then::Again)
    }

    fn tell(&self, server: &Running, signal: Signal) {
        if let Err(problem) = server.signal(signal) {
            self.log.note(&problem);
        }
    }
}

fn clearing() -> Phase {
    Phase::Clearing { pause: CLEAR.0 }
}

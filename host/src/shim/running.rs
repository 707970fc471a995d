//! A process that a shim looks after: one it started, or one it took over.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::sys::wait::WaitStatus;
use rustix::process::Signal;

use super::exec::{Bounds, Launch};
use super::log::Log;
use super::proc::Handle;
use super::wire::{Home, Program, Role, Service, Started};

#[derive(Debug)]
pub struct Running {
    handle: Handle,
    child: bool,
    generation: String,
}

impl Running {
    pub fn start(
        home: &Home,
        service: &Service,
        program: &Program,
        role: Role,
        bounds: &Bounds,
        log: &Log,
    ) -> io::Result<Self> {
        let stdout = log.open()?;
        let stderr = stdout.try_clone()?;
        let launch = Launch {
            home,
            program,
            role,
            generation: &service.generation,
            uid: service.uid,
            work_dir: service.instance_dir.join(&service.work_dir),
            // Another program that fills the volume is none of the server's.
            asks: service
                .asks
                .as_ref()
                .filter(|_| program.path == service.main.path),
            bounds,
        };
        let child = launch.command(stdout.into(), stderr.into()).spawn()?;
        let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
        let handle = Handle::of_child(pid)?;
        Ok(Self {
            handle,
            child: true,
            generation: service.generation.clone(),
        })
    }

    /// `None` when it does not live any more.
    pub fn adopt(started: &Started) -> Option<Self> {
        Some(Self {
            handle: Handle::open(started.process.clone())?,
            child: false,
            generation: started.generation.clone(),
        })
    }

    pub fn pid(&self) -> i32 {
        self.handle.identity.pid
    }

    pub fn generation(&self) -> &str {
        &self.generation
    }

    pub fn is_child(&self) -> bool {
        self.child
    }

    pub fn is_alive(&self) -> bool {
        self.handle.identity.is_alive()
    }

    pub fn age(&self) -> Duration {
        self.handle.identity.age()
    }

    pub fn fd(&self) -> &OwnedFd {
        self.handle.fd()
    }

    pub fn signal(&self, signal: Signal) -> Result<(), String> {
        self.handle.signal(signal)
    }
}

/// How a child ended, for people, and whether it was killed by signal 9.
pub fn describe(status: WaitStatus) -> (String, bool) {
    match status {
        WaitStatus::Exited(_, code) => (format!("it exited with status {code}"), false),
        WaitStatus::Signaled(_, signal, _) => (
            format!("it was ended by signal {} ({signal})", signal as i32),
            signal == nix::sys::signal::Signal::SIGKILL,
        ),
        other => (format!("{other:?}"), false),
    }
}

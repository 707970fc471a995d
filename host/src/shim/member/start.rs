//! How a member begins: its volume first, then its server.

use std::io;
use std::time::{Duration, Instant};

use super::{Member, Phase, Then};
use crate::shim::job::Job;
use crate::shim::restart::End;
use crate::shim::running::Running;
use crate::shim::volume::{Content, Volume, remove_stale};
use crate::shim::wire::{Init, Role};

impl Member {
    /// Nothing of the member lives: start what is due.
    pub(super) fn begin(&mut self) -> (Phase, Then) {
        if !self.is_to_run() {
            self.end_group();
            return (Phase::Ended, Then::Again);
        }
        if let Some(due) = self.not_before.filter(|due| *due > Instant::now()) {
            return (Phase::Idle, Then::Wait(Some(due)));
        }
        let volume = match self.volume() {
            Ok(Some(volume)) => volume,
            Ok(None) => return (self.start_server(), Then::Again),
            Err(error) => {
                let how = format!("its volume cannot be opened: {error}");
                return (self.failed(End::Init, &how), Then::Again);
            }
        };
        let phase = match volume.content() {
            Ok(Content::Filled) => self.start_server(),
            Ok(Content::Empty) => self.start_task(0),
            Ok(Content::Partial) => {
                self.log
                    .note("the volume was not filled completely and is wiped");
                Phase::Working(Job::start(&self.waker, move || volume.wipe()))
            }
            Ok(Content::Lost) => self.failed(
                End::Init,
                "its volume was filled once and is empty now; bring the data back",
            ),
            Err(error) => self.failed(End::Init, &format!("its volume cannot be read: {error}")),
        };
        (phase, Then::Again)
    }

    fn init(&self) -> Option<&Init> {
        self.service
            .init
            .as_ref()
            .filter(|init| !init.tasks.is_empty())
    }

    pub(super) fn volume(&self) -> io::Result<Option<Volume>> {
        self.init()
            .map(|init| Volume::open(&self.service.instance_dir, &init.dir))
            .transpose()
    }

    pub(super) fn start_task(&mut self, index: usize) -> Phase {
        let bounds = match self.bounds() {
            Ok(bounds) => bounds,
            Err(problem) => return self.failed(End::Init, &problem),
        };
        let Some(task) = self.init().and_then(|init| init.tasks.get(index)) else {
            return Phase::Idle;
        };
        let (home, service, log) = (&self.home, &self.service, &self.log);
        match Running::start(home, service, task, Role::Init, &bounds, log) {
            Ok(task) => Phase::Initialising { task, index },
            Err(error) => self.failed(End::Init, &format!("it could not be started: {error}")),
        }
    }

    fn start_server(&mut self) -> Phase {
        let bounds = match self.bounds() {
            Ok(bounds) => bounds,
            // As with a volume that cannot be filled: it seldom mends itself.
            Err(problem) => return self.failed(End::Init, &problem),
        };
        let started =
            remove_stale(&self.service.instance_dir, &self.service.stale_files).and_then(|()| {
                Running::start(
                    &self.home,
                    &self.service,
                    &self.service.main,
                    Role::Main,
                    &bounds,
                    &self.log,
                )
            });
        match started {
            Ok(server) => {
                self.log.note(&format!("started process {}", server.pid()));
                Phase::Running(server)
            }
            Err(error) => self.failed(
                End::Server(Duration::ZERO),
                &format!("it could not be started: {error}"),
            ),
        }
    }
}

//! What a member tells of itself: to who asks, and to who comes later.

use super::{Member, Phase};
use crate::shim::files;
use crate::shim::wire::{State, Status, VERSION};

impl Member {
    pub fn status(&self) -> Status {
        let waiting = || match &self.last_end {
            _ if !self.is_to_run() => State::Stopping,
            Some(how) if self.failures.is_failed() => State::Failed(how.clone()),
            Some(how) => State::Restarting(how.clone()),
            None => State::Initialising,
        };
        let state = match &self.phase {
            Phase::Clearing { .. } | Phase::Idle => waiting(),
            Phase::Working(_) | Phase::Initialising { .. } => State::Initialising,
            Phase::Running(server) => {
                State::Running(u64::try_from(server.age().as_millis()).unwrap_or(u64::MAX))
            }
            Phase::Stopping { .. } if self.is_to_run() => {
                State::Restarting("it is being replaced".to_owned())
            }
            Phase::Stopping { .. } => State::Stopping,
            Phase::Ended => State::Stopped,
        };
        Status {
            version: VERSION,
            state,
            restarts: self.restarts,
            generation: self.service.generation.clone(),
            wanted: self.wanted,
        }
    }

    /// Leave the status for when no shim answers.
    pub(super) fn record(&mut self) {
        let mut status = self.status();
        if let State::Running(ms) = &mut status.state {
            *ms = 0;
        }
        if self.recorded.as_ref() == Some(&status) {
            return;
        }
        match files::write_in_place(&self.home.state(), &status) {
            Ok(()) => self.recorded = Some(status),
            Err(error) => self
                .log
                .note(&format!("the state could not be recorded: {error}")),
        }
    }
}

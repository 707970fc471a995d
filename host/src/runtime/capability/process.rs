//! Servers on this machine, each under a shim of its own that outlives the host.

use berth_bindings::target::berth::plugin::{process, types};

use crate::runtime::scope::ProcessScope;

/// The process capability of one call.
#[derive(Debug, Default)]
pub struct Process {
    /// None when the call is not about an instance: it can then do nothing.
    pub scope: Option<ProcessScope>,
}

impl Process {
    fn scope(&self) -> Result<&ProcessScope, types::Error> {
        self.scope
            .as_ref()
            .ok_or_else(|| types::Error::Failed("this call is not about an instance".to_owned()))
    }
}

impl process::Host for Process {
    async fn ensure(&mut self, _: String, _: process::Service) -> Result<(), types::Error> {
        self.scope().and_then(unsupported)
    }

    async fn start(&mut self, _: String) -> Result<(), types::Error> {
        self.scope().and_then(unsupported)
    }

    async fn inspect(&mut self, _: String) -> Result<process::Status, types::Error> {
        self.scope().and_then(unsupported)
    }

    async fn stop(&mut self, _: String) -> Result<(), types::Error> {
        self.scope().and_then(unsupported)
    }

    async fn remove_all(&mut self) -> Result<(), types::Error> {
        self.scope().and_then(unsupported)
    }

    async fn log_tail(&mut self, _: String, _: u32) -> Result<String, types::Error> {
        self.scope().and_then(unsupported)
    }
}

fn unsupported<T>(_: &ProcessScope) -> Result<T, types::Error> {
    Err(types::Error::Unsupported("processes".to_owned()))
}

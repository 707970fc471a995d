//! Durable work on instances: what each kind of operation does, and the executor that has it done.
//!
//! An accepted request is recorded by `service` through the store's repo; this module finds it, drives
//! it step by step, and undoes it when it cannot be done. Phases change in the repo's commits only. Never
//! knows HTTP, wasmtime or an engine by name.

mod clock;
mod config;
mod configure;
mod contexts;
mod create;
mod delete;
mod driver;
mod executor;
mod journal;
mod looks;
mod members;
mod on_end;
mod plain;
mod renew_certificate;
mod restart;
mod secrets;
mod set_access;
mod start;
mod stop;
mod workflow;

pub use clock::Clock;
pub use config::NodeConfig;
pub use contexts::{dials, instance_context, instance_context_by, target_context};
pub use executor::Executor;
pub use on_end::OnEnd;
pub(crate) use plain::plain;
pub use secrets::password;

use crate::model::OperationKind;
use workflow::Workflow;

/// The stored names of a kind's steps, in order.
pub fn step_names(kind: OperationKind) -> impl Iterator<Item = &'static str> {
    match kind {
        OperationKind::Create => names::<create::Create>(),
        OperationKind::Stop => names::<stop::StopMembers>(),
        OperationKind::Start => names::<start::Start>(),
        OperationKind::Restart => names::<restart::Restart>(),
        OperationKind::Configure => names::<configure::Configure>(),
        OperationKind::SetAccess => names::<set_access::SetAccess>(),
        OperationKind::RenewCertificate => names::<renew_certificate::RenewCertificate>(),
        OperationKind::Delete => names::<delete::Delete>(),
    }
    .into_iter()
}

fn names<W: Workflow>() -> Vec<&'static str> {
    W::STEPS.iter().map(|step| W::name(*step)).collect()
}

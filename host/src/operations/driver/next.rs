//! What the record of an operation asks for next, and how its parts are found in it.

use jiff::Timestamp;

use crate::model::operation::{StepRecord, StepState};
use crate::model::{Error, Operation, OperationStatus, Outcome};
use crate::operations::journal::Gone;
use crate::operations::workflow::{OnFailure, Workflow};

pub enum Next<S> {
    Run(S),
    Undo(S),
    Finish(Outcome),
    Unwind(String),
}

pub fn next<W: Workflow>(operation: &Operation, now: Timestamp) -> Next<W::Step> {
    if operation.status == OperationStatus::Unwinding {
        let touched = |record: &&StepRecord| match record.state {
            StepState::Started | StepState::Done => true,
            StepState::Pending | StepState::Undone => false,
        };
        let last = operation.steps.iter().rev().find(touched);
        return match last.and_then(|record| step_of::<W>(&record.name)) {
            Some(step) => Next::Undo(step),
            None if operation.cancel_requested => Next::Finish(Outcome::Cancelled),
            None => Next::Finish(Outcome::Failed),
        };
    }
    if operation.cancel_requested && operation.kind.gives_way() {
        return Next::Unwind("it was cancelled".to_owned());
    }
    let first = operation
        .steps
        .iter()
        .find(|record| record.state != StepState::Done);
    let Some(step) = first.and_then(|record| step_of::<W>(&record.name)) else {
        return Next::Finish(Outcome::Succeeded);
    };
    let overdue = operation.deadline.is_some_and(|deadline| deadline <= now);
    match W::on_failure(step) {
        OnFailure::Unwind if overdue => {
            let waiting_for = operation.last_error.as_deref().unwrap_or("no error");
            Next::Unwind(format!("it was not done in time; the last: {waiting_for}"))
        }
        OnFailure::Unwind | OnFailure::Insist => Next::Run(step),
    }
}

/// The workflow's state, if this Berth knows all that is stored of it.
pub fn restore<W: Workflow>(operation: &Operation) -> Result<W::State, String> {
    let unknown = |record: &&StepRecord| step_of::<W>(&record.name).is_none();
    if let Some(record) = operation.steps.iter().find(unknown) {
        return Err(format!(
            "it has a step \"{}\" that this version of Berth does not know",
            record.name
        ));
    }
    if operation.state.is_null() {
        return Ok(W::State::default());
    }
    serde_json::from_value(operation.state.clone())
        .map_err(|_| "it has a state that this version of Berth does not understand".to_owned())
}

fn step_of<W: Workflow>(name: &str) -> Option<W::Step> {
    W::STEPS.iter().copied().find(|step| W::name(*step) == name)
}

pub fn encode<S: serde::Serialize>(state: &S) -> Result<serde_json::Value, Gone> {
    serde_json::to_value(state).map_err(|problem| Gone::Store(Error::internal(problem)))
}

pub fn record_of<'a>(operation: &'a mut Operation, name: &str) -> Option<&'a mut StepRecord> {
    operation
        .steps
        .iter_mut()
        .find(|record| record.name == name)
}

pub fn begin_next(operation: &mut Operation, now: Timestamp) {
    let first = operation
        .steps
        .iter_mut()
        .find(|record| record.state != StepState::Done);
    if let Some(record) = first {
        record.state = StepState::Started;
        record.started_at.get_or_insert(now);
    }
}

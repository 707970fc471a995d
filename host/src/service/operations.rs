//! Reading operations, and what a person may wish of one.

use super::{Caller, Control, unbroken};
use crate::model::{
    ConflictReason, Error, Operation, OperationId, OperationKind, OperationStatus, Result,
};
use crate::store::view::{OperationQuery, Page};

impl Control {
    /// Newest first.
    pub async fn list_operations(
        &self,
        caller: &Caller,
        mut query: OperationQuery,
    ) -> Result<Page<Operation, OperationId>> {
        query.project = caller.scope();
        self.repo().operations(&query).await
    }

    pub async fn operation(&self, caller: &Caller, id: OperationId) -> Result<Operation> {
        let found = self.repo().operation(id).await?;
        found
            .map(|found| found.value)
            .filter(|operation| caller.may_see(operation.project))
            .ok_or_else(|| Error::not_found("there is no such operation"))
    }

    pub async fn cancel_operation(&self, caller: &Caller, id: OperationId) -> Result<Operation> {
        self.operation(caller, id).await?;
        let operation = self.repo().request_cancel(id).await?;
        self.executor().wake();
        Ok(operation)
    }

    /// An open operation goes on at once; a creation that failed is begun again, as a new operation.
    pub async fn retry_operation(&self, caller: &Caller, id: OperationId) -> Result<Operation> {
        let operation = self.operation(caller, id).await?;
        if !operation.status.is_terminal() {
            let operation = self.repo().retry_now(id).await?;
            self.executor().wake();
            return Ok(operation);
        }
        match (operation.kind, operation.status) {
            (OperationKind::Create, OperationStatus::Failed) => {
                let control = self.clone();
                let caller = caller.clone();
                unbroken(async move { control.begin_again(&caller, &operation).await }).await
            }
            (OperationKind::Create | OperationKind::Delete, status) => Err(Error::conflict(
                ConflictReason::NotAllowedNow,
                format!(
                    "the operation has ended ({}): there is nothing to retry",
                    status.as_str()
                ),
            )),
        }
    }

    async fn begin_again(&self, caller: &Caller, failed: &Operation) -> Result<Operation> {
        let new = self
            .executor()
            .new_operation(failed.kind, caller.request_id.clone());
        let (_, operation) = self.repo().begin(failed.instance, new).await?;
        self.executor().wake();
        Ok(operation)
    }
}

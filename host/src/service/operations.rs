//! Reading operations, and what a person may wish of one.

use super::{Caller, Control, unbroken};
use crate::model::{
    ConflictReason, Error, Instance, Operation, OperationId, OperationKind, OperationStatus, Result,
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
        let mut page = self.repo().operations(&query).await?;
        for operation in &mut page.items {
            self.explain(operation).await?;
        }
        Ok(page)
    }

    pub async fn operation(&self, caller: &Caller, id: OperationId) -> Result<Operation> {
        let found = self.repo().operation(id).await?;
        let mut operation = found
            .map(|found| found.value)
            .filter(|operation| caller.may_see(operation.project))
            .ok_or_else(|| Error::not_found("there is no such operation"))?;
        self.explain(&mut operation).await?;
        Ok(operation)
    }

    pub async fn cancel_operation(&self, caller: &Caller, id: OperationId) -> Result<Operation> {
        self.operation(caller, id).await?;
        let operation = self.repo().request_cancel(id).await?;
        self.executor().wake();
        Ok(operation)
    }

    /// An open operation goes on at once; one that failed is begun again, as a new operation.
    pub async fn retry_operation(&self, caller: &Caller, id: OperationId) -> Result<Operation> {
        let operation = self.operation(caller, id).await?;
        if !operation.status.is_terminal() {
            let operation = self.repo().retry_now(id).await?;
            self.executor().wake();
            return Ok(operation);
        }
        match (operation.kind, operation.status) {
            (
                OperationKind::Create | OperationKind::Start | OperationKind::Restart,
                OperationStatus::Failed,
            ) => {
                let control = self.clone();
                let caller = caller.clone();
                unbroken(caller.held.clone(), async move {
                    control.begin_again(&caller, &operation).await
                })
                .await
            }
            (
                OperationKind::Create
                | OperationKind::Stop
                | OperationKind::Start
                | OperationKind::Restart
                | OperationKind::Configure
                | OperationKind::SetAccess
                | OperationKind::RenewCertificate
                | OperationKind::Delete,
                status,
            ) => Err(Error::conflict(
                ConflictReason::NotAllowedNow,
                format!(
                    "the operation has ended ({}): there is nothing to retry",
                    status.as_str()
                ),
            )),
        }
    }

    async fn begin_again(&self, caller: &Caller, failed: &Operation) -> Result<Operation> {
        self.check_newest(failed).await?;
        let instance = self.repo().stored_instance(failed.instance).await?;
        // A creation is made anew with the plugins of today: the old ones may be why it failed. What exists stays
        // with those that made it.
        let anew = match failed.kind {
            // It is not kept for one that came to nothing.
            OperationKind::Create if instance.spec.user.is_some() => {
                return Err(Error::conflict(
                    ConflictReason::NotAllowedNow,
                    "the password that came with the request is gone: delete the database and create it anew",
                ));
            }
            OperationKind::Create => Some(self.plugins_again(&instance).await?),
            OperationKind::Stop
            | OperationKind::Start
            | OperationKind::Restart
            | OperationKind::Configure
            | OperationKind::SetAccess
            | OperationKind::RenewCertificate
            | OperationKind::Delete => None,
        };
        self.check_load()?;
        let new = self
            .executor()
            .new_operation(failed.kind, caller.request_id.as_deref());
        let bind = |instance: &mut Instance| {
            if let Some((engine, target)) = &anew {
                instance.engine_digest.clone_from(engine.digest());
                instance.target_digest.clone_from(target.digest());
            }
            Ok(())
        };
        let (_, operation) = self.repo().begin_with(failed.instance, new, &bind).await?;
        self.executor().wake();
        Ok(operation)
    }

    /// What was done to the instance since may have been meant to last: somebody stopped what failed to restart.
    async fn check_newest(&self, failed: &Operation) -> Result<()> {
        let query = OperationQuery {
            instance: Some(failed.instance),
            limit: Some(1),
            ..OperationQuery::default()
        };
        // Ids sort by age. One that begins meanwhile is found by its phase.
        let newest = self.repo().operations(&query).await?.items.pop();
        match newest.filter(|newest| newest.id > failed.id) {
            None => Ok(()),
            Some(newest) => Err(Error::conflict(
                ConflictReason::NotAllowedNow,
                format!(
                    "operation {} ({}) came after it: begin anew what is wanted now",
                    newest.id,
                    newest.kind.as_str()
                ),
            )),
        }
    }

    /// One that waits for another says so; it cannot write that itself, for nobody drives it.
    async fn explain(&self, operation: &mut Operation) -> Result<()> {
        let (OperationStatus::Pending, Some(first)) = (operation.status, operation.after) else {
            return Ok(());
        };
        let Some(first) = self.repo().operation(first).await?.map(|found| found.value) else {
            return Ok(());
        };
        if first.status.is_terminal() {
            return Ok(());
        }
        let waits = format!(
            "waits until operation {} ({}) is undone",
            first.id,
            first.kind.as_str()
        );
        operation.last_error = Some(match first.last_error {
            Some(why) => format!("{waits}, which says: {why}"),
            None => waits,
        });
        Ok(())
    }
}

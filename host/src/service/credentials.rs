//! How to connect to an instance. A password is shown only after its server has just accepted it.
//!
//! A new password is recorded as pending before the engine is told, so that whatever happens in between, one of
//! the two that are recorded is the server's; which one it is, the server is asked.

use std::sync::Arc;

use super::instances::InstanceRef;
use super::{Caller, Control, unanswered, unbroken};
use crate::model::instance::Endpoint;
use crate::model::plugin::{Connection, InstanceContext, Login};
use crate::model::workload::SecretKind;
use crate::model::{ConflictReason, Error, Instance, Kind, Phase, Result, Secret};
use crate::operations;
use crate::runtime::Engine;

/// What is needed to talk to an instance about its first user.
struct Access {
    instance: Arc<Instance>,
    engine: Arc<dyn Engine>,
    context: InstanceContext,
    login: Login,
}

impl Control {
    pub async fn credentials(&self, caller: &Caller, which: &InstanceRef) -> Result<Connection> {
        let instance = self.instance(caller, which)?;
        let control = self.clone();
        unbroken(caller.held.clone(), async move {
            let lock = control.users_lock(instance.id)?;
            let _alone = lock.lock().await;
            let access = control.access(instance).await?;
            let password = control.settle(&access).await?.ok_or_else(|| {
                let alias = &access.instance.alias;
                Error::conflict(
                    ConflictReason::PasswordUnknown,
                    format!(
                        "the password was changed in the database itself; set a new one with \
                         POST /api/v1/databases/{alias}/credentials/rotate"
                    ),
                )
            })?;
            access.connection(&password).await
        })
        .await
    }

    /// Give the first user a new password, whatever it is now.
    pub async fn rotate_credentials(
        &self,
        caller: &Caller,
        which: &InstanceRef,
    ) -> Result<Connection> {
        let instance = self.instance(caller, which)?;
        let control = self.clone();
        unbroken(caller.held.clone(), async move {
            control.rotate(instance).await
        })
        .await
    }

    async fn rotate(&self, instance: Arc<Instance>) -> Result<Connection> {
        let lock = self.users_lock(instance.id)?;
        let _alone = lock.lock().await;
        let access = self.access(instance).await?;
        // A pending one that the server has taken is promoted before anything else is said to it.
        self.settle(&access).await?;
        let id = access.instance.id;
        let name = &access.login.secret;
        // One that it has not taken yet may still be on its way: saying the same again is safe.
        let password = match self.repo().pending_secrets(id).await?.remove(name) {
            Some(pending) => pending,
            None => self.new_password(&access).await?,
        };
        self.repo().put_pending_secret(id, name, &password).await?;
        let told = access
            .engine
            .rotate(&access.context, &access.login, &password);
        told.await.map_err(not_now)?;
        self.repo()
            .promote_pending_secret(id, name, &password)
            .await?;
        access.connection(&password).await
    }

    async fn access(&self, instance: Arc<Instance>) -> Result<Access> {
        if let Some(why) = why_not_ready(&instance) {
            return Err(Error::conflict(ConflictReason::NotReady, why));
        }
        let engine = self.plugins().engine_build(&instance.engine_digest)?;
        let context = self.context(&instance).await;
        let login = engine.first_login(instance.id, &instance.spec).await?;
        Ok(Access {
            context: context.map_err(not_now)?,
            instance,
            engine,
            login,
        })
    }

    /// The recorded password that the server accepts now; none if it accepts neither.
    async fn settle(&self, access: &Access) -> Result<Option<Secret>> {
        let id = access.instance.id;
        let name = &access.login.secret;
        let mut pending = self.repo().pending_secrets(id).await?;
        // One that is not accepted stays: a server that was slow to be told may still take it.
        if let Some(password) = pending.remove(name)
            && access.accepts(&password).await?
        {
            let repo = self.repo();
            repo.promote_pending_secret(id, name, &password).await?;
            return Ok(Some(password));
        }
        let current = access.context.secrets.get(name).ok_or_else(|| {
            Error::internal(format!(
                "{id} has no secret {name:?}, which its engine logs in with"
            ))
        })?;
        let accepted = access.accepts(current).await?;
        Ok(accepted.then(|| current.clone()))
    }

    /// As long as the one that was made with the instance.
    async fn new_password(&self, access: &Access) -> Result<Secret> {
        let workload = self.repo().workload(access.instance.id).await?;
        let requests = workload.map(|w| w.secrets).unwrap_or_default();
        let request = requests.into_iter().find(|r| r.name == access.login.secret);
        match request.map(|request| request.kind) {
            Some(SecretKind::Password(length)) => Ok(operations::password(length)),
            Some(SecretKind::Certificate(_)) | None => Err(Error::internal(format!(
                "{}: its engine logs in with {:?}, which is no password",
                access.instance.id, access.login.secret
            ))),
        }
    }
}

impl Access {
    async fn accepts(&self, password: &Secret) -> Result<bool> {
        let asked = self.engine.verify(&self.context, &self.login, password);
        asked.await.map_err(not_now)
    }

    async fn connection(&self, password: &Secret) -> Result<Connection> {
        let Instance { id, spec, .. } = self.instance.as_ref();
        let login = Login {
            database: self.database().await?,
            ..self.login.clone()
        };
        self.engine
            .connect(*id, spec, self.endpoint()?, &login, password)
            .await
    }

    /// The logical database to begin with: the one that came with the instance, or another when it was deleted since.
    async fn database(&self) -> Result<Option<String>> {
        let first = self.login.database.clone();
        let (Some(first), Some(users)) = (first.clone(), self.engine.users()) else {
            return Ok(first);
        };
        let there = users.list_databases(&self.context, false).await;
        let there = there.map_err(not_now)?;
        if there.iter().any(|database| database.name == first) {
            return Ok(Some(first));
        }
        let managed = there.into_iter().filter(|database| database.managed);
        Ok(managed.map(|database| database.name).min())
    }

    fn endpoint(&self) -> Result<&Endpoint> {
        self.instance.ways_in().next().ok_or_else(|| {
            Error::internal(format!("{} runs without an endpoint", self.instance.id))
        })
    }
}

/// What keeps a database from being talked to, and what helps.
fn why_not_ready(instance: &Instance) -> Option<String> {
    let phase = instance.phase();
    let why = format!("the database {}", phase.describe());
    let alias = &instance.alias;
    match phase {
        Phase::Running | Phase::Configuring => None,
        Phase::Stopping | Phase::Stopped | Phase::StartFailed => Some(format!(
            "{why}; start it with POST /api/v1/databases/{alias}/start"
        )),
        Phase::Creating
        | Phase::Starting
        | Phase::Restarting
        | Phase::Deleting
        | Phase::Failed
        | Phase::Deleted => Some(why),
    }
}

/// That a server does not answer is not the caller's doing; it is being started again meanwhile.
fn not_now(error: Error) -> Error {
    match error.kind {
        Kind::Retry(_) | Kind::Unavailable | Kind::Failed => unanswered(error),
        Kind::Invalid(_)
        | Kind::Unauthenticated
        | Kind::Denied
        | Kind::NotFound
        | Kind::Conflict(_)
        | Kind::QuotaExceeded
        | Kind::Unsupported
        | Kind::Internal => error,
    }
}

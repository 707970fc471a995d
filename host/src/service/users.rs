//! Users, logical databases and privileges of an instance: they live in its engine, so each of these is a call to it
//! and answered when it is done. Changes of one instance are made one after the other.

use std::sync::Arc;

use super::{Caller, Control, InstanceRef, unanswered, unbroken};
use crate::model::plugin::{EngineDescription, InstanceContext};
use crate::model::user::{
    LogicalDatabase, Permission, Privilege, User, UserChange, check_password,
};
use crate::model::{ConflictReason, Error, FieldProblem, Instance, Kind, Phase, Result, Secret};
use crate::runtime::{Engine, Users};

/// An instance that can be asked about its users.
struct Talk {
    instance: Arc<Instance>,
    engine: Arc<dyn Engine>,
    context: InstanceContext,
}

/// Which privileges are asked for; none is all.
#[derive(Clone, Debug, Default)]
pub struct PrivilegeQuery {
    pub user: Option<String>,
    pub database: Option<String>,
}

impl Control {
    pub async fn list_users(&self, caller: &Caller, which: &InstanceRef) -> Result<Vec<User>> {
        let talk = self.talk(caller, which).await?;
        let users = talk.users()?.list_users(&talk.context).await;
        users.map_err(not_now)
    }

    pub async fn create_user(
        &self,
        caller: &Caller,
        which: &InstanceRef,
        name: String,
        password: Secret,
        admin: bool,
    ) -> Result<User> {
        self.change(caller, which, move |_, talk: Talk| async move {
            let mut problems = Vec::new();
            problems.extend(talk.described().user_names.check("name", &name).err());
            problems.extend(check_password("password", &password).err());
            refuse(problems)?;
            let users = talk.users()?;
            users
                .create_user(&talk.context, &name, &password, admin)
                .await
        })
        .await
    }

    /// Change what is given. The password of the first user is recorded before the engine hears of it.
    pub async fn change_user(
        &self,
        caller: &Caller,
        which: &InstanceRef,
        name: String,
        change: UserChange,
    ) -> Result<User> {
        self.change(caller, which, move |control: Self, talk: Talk| async move {
            let password = change.password.as_ref();
            let checked = password.map(|password| check_password("password", password));
            refuse(checked.and_then(Result::err).into_iter().collect())?;
            let users = talk.users()?;
            let id = talk.instance.id;
            let Some(password) = password else {
                return users.change_user(&talk.context, &name, &change).await;
            };
            let login = talk.engine.first_login(id, &talk.instance.spec).await?;
            if login.user.as_ref() != Some(&name) {
                return users.change_user(&talk.context, &name, &change).await;
            }
            let repo = control.repo();
            // One that an earlier call left is outdated by this one, whether the server took it or not.
            repo.drop_pending_secret(id, &login.secret).await?;
            repo.put_pending_secret(id, &login.secret, password).await?;
            let changed = users.change_user(&talk.context, &name, &change).await;
            let refused = changed.as_ref().is_err_and(is_definite);
            if refused {
                // Nobody shall be given it later.
                repo.drop_pending_secret(id, &login.secret).await?;
            }
            let user = changed?;
            repo.promote_pending_secret(id, &login.secret, password)
                .await?;
            Ok(user)
        })
        .await
    }

    pub async fn delete_user(
        &self,
        caller: &Caller,
        which: &InstanceRef,
        name: String,
    ) -> Result<()> {
        self.change(caller, which, move |_, talk: Talk| async move {
            talk.users()?.delete_user(&talk.context, &name).await
        })
        .await
    }

    /// With their sizes when they are asked for, which takes longer.
    pub async fn list_databases(
        &self,
        caller: &Caller,
        which: &InstanceRef,
        sizes: bool,
    ) -> Result<Vec<LogicalDatabase>> {
        let talk = self.talk(caller, which).await?;
        let databases = talk.users()?.list_databases(&talk.context, sizes).await;
        databases.map_err(not_now)
    }

    pub async fn create_database(
        &self,
        caller: &Caller,
        which: &InstanceRef,
        name: String,
    ) -> Result<LogicalDatabase> {
        self.change(caller, which, move |_, talk: Talk| async move {
            let names = &talk.described().database_names;
            refuse(names.check("name", &name).err().into_iter().collect())?;
            talk.users()?.create_database(&talk.context, &name).await
        })
        .await
    }

    pub async fn delete_database(
        &self,
        caller: &Caller,
        which: &InstanceRef,
        name: String,
    ) -> Result<()> {
        self.change(caller, which, move |_, talk: Talk| async move {
            talk.users()?.delete_database(&talk.context, &name).await
        })
        .await
    }

    pub async fn list_privileges(
        &self,
        caller: &Caller,
        which: &InstanceRef,
        query: &PrivilegeQuery,
    ) -> Result<Vec<Privilege>> {
        let talk = self.talk(caller, which).await?;
        let (user, database) = (query.user.as_deref(), query.database.as_deref());
        let users = talk.users()?;
        let found = users.list_privileges(&talk.context, user, database).await;
        match found {
            // Who is not there has none.
            Err(error) if matches!(error.kind, Kind::NotFound) => Ok(Vec::new()),
            found => found.map_err(not_now),
        }
    }

    pub async fn set_privilege(
        &self,
        caller: &Caller,
        which: &InstanceRef,
        wanted: Privilege,
    ) -> Result<Privilege> {
        if wanted.permission == Permission::Custom {
            let help = "readonly, readwrite, all or none";
            return Err(Error::invalid_field("permission", "cannot be set", help));
        }
        self.change(caller, which, move |_, talk: Talk| async move {
            let Privilege {
                user,
                database,
                permission,
            } = &wanted;
            let users = talk.users()?;
            users
                .set_privilege(&talk.context, user, database, *permission)
                .await
        })
        .await
    }

    /// Carry a change through, after those of the same instance that came before.
    async fn change<T, F>(
        &self,
        caller: &Caller,
        which: &InstanceRef,
        change: impl FnOnce(Self, Talk) -> F + Send + 'static,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send,
    {
        let id = self.instance(caller, which)?.id;
        let (control, caller) = (self.clone(), caller.clone());
        unbroken(caller.held.clone(), async move {
            let lock = control.users_lock(id)?;
            let _alone = lock.lock().await;
            let talk = control.talk(&caller, &InstanceRef::Id(id)).await?;
            change(control.clone(), talk).await.map_err(not_now)
        })
        .await
    }

    async fn talk(&self, caller: &Caller, which: &InstanceRef) -> Result<Talk> {
        let instance = self.instance(caller, which)?;
        match instance.phase() {
            Phase::Running | Phase::Configuring => {}
            phase @ (Phase::Creating
            | Phase::Stopping
            | Phase::Stopped
            | Phase::Starting
            | Phase::Restarting
            | Phase::StartFailed
            | Phase::Deleting
            | Phase::Failed
            | Phase::Deleted) => {
                let message = format!("the database {}", phase.describe());
                return Err(Error::conflict(ConflictReason::WrongPhase, message));
            }
        }
        let engine = self.plugins().engine_build(&instance.engine_digest)?;
        let context = self.context(&instance).await;
        Ok(Talk {
            instance,
            engine,
            context: context?,
        })
    }
}

impl Talk {
    fn described(&self) -> &EngineDescription {
        self.engine.description()
    }

    fn users(&self) -> Result<&dyn Users> {
        self.engine.users().ok_or_else(|| {
            let title = &self.described().title;
            Error::unsupported(format!("{title} has no users or databases to manage"))
        })
    }
}

/// What the engine waits for is not the caller's doing, who did not ask too often.
fn not_now(error: Error) -> Error {
    if matches!(error.kind, Kind::Retry(_)) {
        unanswered(error)
    } else {
        error
    }
}

/// Whether an engine refused a change so that it has made nothing of it, and will not.
fn is_definite(error: &Error) -> bool {
    match error.kind {
        Kind::Invalid(_) | Kind::NotFound | Kind::Conflict(_) | Kind::Unsupported => true,
        Kind::Unauthenticated
        | Kind::Denied
        | Kind::QuotaExceeded
        | Kind::Retry(_)
        | Kind::Unavailable
        | Kind::Failed
        | Kind::Internal => false,
    }
}

fn refuse(problems: Vec<FieldProblem>) -> Result<()> {
    if problems.is_empty() {
        return Ok(());
    }
    Err(Error::invalid(problems))
}

//! Users of the fake engine, as far as it is said what becomes of a change of one.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use berth::model::plugin::{InstanceContext, Login};
use berth::model::user::{LogicalDatabase, Permission, Privilege, User, UserChange};
use berth::model::{Error, Result, Secret};
use berth::runtime::{Engine, Users};

/// What is said of a change whose password the server has taken.
#[derive(Clone, Copy, Debug)]
pub enum Said {
    /// That nothing will come of it.
    Refused,
    /// Nothing that helps.
    Lost,
    /// That nothing came of it yet. Here the server has not taken it.
    Later,
}

pub struct FewUsers {
    engine: Arc<dyn Engine>,
    /// While it is none, the engine has no users.
    said: Mutex<Option<Said>>,
}

impl FewUsers {
    pub fn of(engine: Arc<dyn Engine>) -> Self {
        Self {
            engine,
            said: Mutex::default(),
        }
    }

    pub fn say(&self, said: Option<Said>) {
        *self.said.lock().unwrap() = said;
    }

    pub fn said(&self) -> Option<Said> {
        *self.said.lock().unwrap()
    }

    async fn take(&self, instance: &InstanceContext, name: &str, password: &Secret) {
        let login = Login {
            user: Some(name.to_owned()),
            database: None,
            secret: String::new(),
        };
        let taken = self.engine.rotate(instance, &login, password).await;
        taken.unwrap();
    }
}

fn later<T>() -> Result<T> {
    Err(Error::retry(Duration::from_secs(7), "its server is busy"))
}

#[async_trait]
impl Users for FewUsers {
    async fn list_users(&self, _: &InstanceContext) -> Result<Vec<User>> {
        later()
    }

    async fn create_user(&self, _: &InstanceContext, _: &str, _: &Secret, _: bool) -> Result<User> {
        later()
    }

    async fn change_user(
        &self,
        instance: &InstanceContext,
        name: &str,
        change: &UserChange,
    ) -> Result<User> {
        let said = self.said().expect("an engine with users");
        if matches!(said, Said::Refused | Said::Lost) {
            let password = change.password.as_ref().unwrap();
            self.take(instance, name, password).await;
        }
        match said {
            Said::Refused => Err(Error::invalid_field("password", "is not liked", "another")),
            Said::Lost => Err(Error::failed("the call took too long")),
            Said::Later => later(),
        }
    }

    async fn delete_user(&self, _: &InstanceContext, _: &str) -> Result<()> {
        later()
    }

    async fn list_databases(&self, _: &InstanceContext, _: bool) -> Result<Vec<LogicalDatabase>> {
        later()
    }

    async fn create_database(&self, _: &InstanceContext, _: &str) -> Result<LogicalDatabase> {
        later()
    }

    async fn delete_database(&self, _: &InstanceContext, _: &str) -> Result<()> {
        later()
    }

    async fn list_privileges(
        &self,
        _: &InstanceContext,
        _: Option<&str>,
        _: Option<&str>,
    ) -> Result<Vec<Privilege>> {
        later()
    }

    async fn set_privilege(
        &self,
        _: &InstanceContext,
        _: &str,
        _: &str,
        _: Permission,
    ) -> Result<Privilege> {
        later()
    }
}

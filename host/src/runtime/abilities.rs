//! What an engine component is able to do beside what every engine must: found in what it exports, once, when it is
//! loaded. One that says it has an ability and has not all of it is not taken.

use std::sync::Arc;

use berth_bindings::settings::exports::berth::plugin::settings;
use berth_bindings::users::exports::berth::plugin::users;
use wasmtime::component::{Component, InstancePre};

use crate::model::plugin::InstanceContext;
use crate::model::{Result, Secret};

use super::call::Build;
use super::directories::Directories;
use super::sandbox::State;
use super::scope::{CallScope, Redactor};
use super::sockets::Network;
use super::{Settings, Users};

/// The interfaces, as a component names them without their version.
const SETTINGS: &str = "berth:plugin/settings";
const USERS: &str = "berth:plugin/users";

/// What a component exports of the abilities.
#[derive(Default)]
pub(super) struct Exported {
    settings: Option<settings::GuestIndices>,
    users: Option<users::GuestIndices>,
}

/// The abilities of one build, ready to be called.
pub(super) struct Abilities {
    settings: Option<Ability<settings::GuestIndices>>,
    users: Option<Ability<users::GuestIndices>>,
}

/// One ability: what `call!` needs, and where the instances are that it is about.
pub(super) struct Ability<E> {
    pub build: Arc<Build>,
    pub pre: InstancePre<State>,
    pub exports: E,
    directories: Directories,
}

impl Exported {
    /// Look at a component's type. The reason for refusing one that has an ability by halves is the answer's error.
    pub fn find(
        component: &Component,
        linked: &InstancePre<State>,
    ) -> std::result::Result<Self, String> {
        let mut found = Self::default();
        for (export, _) in component.component_type().exports(component.engine()) {
            let unfit = |e| format!("it does not export what `{export}` must have: {e:#}");
            match export.split('@').next() {
                Some(SETTINGS) => {
                    found.settings = Some(settings::GuestIndices::new(linked).map_err(unfit)?);
                }
                Some(USERS) => {
                    found.users = Some(users::GuestIndices::new(linked).map_err(unfit)?);
                }
                Some(_) | None => {}
            }
        }
        Ok(found)
    }
}

impl Abilities {
    pub fn new(
        exported: Exported,
        build: &Arc<Build>,
        pre: &InstancePre<State>,
        directories: &Directories,
    ) -> Self {
        Self {
            settings: exported
                .settings
                .map(|exports| Ability::new(build, pre, exports, directories)),
            users: exported
                .users
                .map(|exports| Ability::new(build, pre, exports, directories)),
        }
    }

    pub fn settings(&self) -> Option<&dyn Settings> {
        self.settings.as_ref().map(|ability| ability as _)
    }

    pub fn users(&self) -> Option<&dyn Users> {
        self.users.as_ref().map(|ability| ability as _)
    }
}

impl<E> Ability<E> {
    fn new(
        build: &Arc<Build>,
        pre: &InstancePre<State>,
        exports: E,
        directories: &Directories,
    ) -> Self {
        Self {
            build: Arc::clone(build),
            pre: pre.clone(),
            exports,
            directories: directories.clone(),
        }
    }

    /// The same, for one that may go on in the session that is kept for the instance, and may leave one.
    pub fn session<'a>(
        &self,
        context: &'a InstanceContext,
        more: impl IntoIterator<Item = &'a Secret>,
    ) -> Result<CallScope> {
        Ok(CallScope {
            session: Some(context.clone()),
            ..self.talk(context, more)?
        })
    }

    /// The scope of one of its calls. `more` is what it must not say beside the instance's own secrets.
    pub fn talk<'a>(
        &self,
        context: &'a InstanceContext,
        more: impl IntoIterator<Item = &'a Secret>,
    ) -> Result<CallScope> {
        talk(&self.directories, context, more)
    }
}

/// The scope of a call that talks to the instance's members.
pub(super) fn talk<'a>(
    directories: &Directories,
    context: &'a InstanceContext,
    more: impl IntoIterator<Item = &'a Secret>,
) -> Result<CallScope> {
    let files = directories.of(context.id, context.uid);
    Ok(CallScope {
        instance: Some(context.id),
        network: Network::of(&context.dials, &context.endpoints, &files)?,
        redactor: Redactor::new(&context.secrets, more),
        ..CallScope::default()
    })
}

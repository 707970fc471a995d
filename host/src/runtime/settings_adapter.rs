//! An engine's ability `settings`: each call of the trait is one sandbox.

use async_trait::async_trait;
use berth_bindings::settings::exports::berth::plugin::settings;

use crate::model::Result;
use crate::model::plugin::InstanceContext;

use super::abilities::Ability;
use super::call::{Pace, call};
use super::{Settings, convert, setting_schemas};

#[async_trait]
impl Settings for Ability<settings::GuestIndices> {
    async fn reload(&self, context: &InstanceContext) -> Result<Vec<String>> {
        self.build.forget(context.id);
        let scope = self.talk(context, None)?;
        let instance = convert::instance(context, &scope.network);
        let (call, outcome) = call!(
            self.exports,
            Pace::Talk,
            scope,
            "reload",
            |engine, store| { engine.call_reload(store, &instance) }
        );
        setting_schemas::waiting(call.answer(outcome)?, &self.build.manifest)
    }
}

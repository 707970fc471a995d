//! Reading instances, and what can be had done to one: stop, start, restart, delete.

use std::sync::Arc;

use super::{Caller, Control, unbroken};
use crate::model::confinement::Confinement;
use crate::model::health::{Health, History};
use crate::model::{Alias, Error, Instance, InstanceId, Operation, OperationKind, Result};
use crate::store::view::{Cursor, InstanceQuery, Page};

/// How a caller names an instance.
#[derive(Clone, Debug)]
pub enum InstanceRef {
    Alias(Alias),
    Id(InstanceId),
}

/// Part of a list.
pub struct Listed {
    pub items: Vec<Arc<Instance>>,
    pub next: Option<Cursor>,
}

impl InstanceRef {
    pub fn alias(text: &str) -> Option<Self> {
        Alias::parse(text).map(Self::Alias)
    }

    /// Either form; none for what can name nothing.
    pub fn parse(text: &str) -> Option<Self> {
        Self::alias(text).or_else(|| text.parse().ok().map(Self::Id))
    }
}

impl Control {
    /// One instance. Another project's is as if it were not there.
    pub fn instance(&self, caller: &Caller, which: &InstanceRef) -> Result<Arc<Instance>> {
        let view = self.repo().view();
        let found = match which {
            InstanceRef::Alias(alias) => view.by_alias(alias),
            InstanceRef::Id(id) => view.get(*id),
        };
        found
            .filter(|instance| caller.may_see(instance.project))
            .ok_or_else(|| Error::not_found("there is no such database"))
    }

    /// The caller's instances. `keep` can leave out more than the query can say; pages are full all the same.
    pub fn list_instances(
        &self,
        caller: &Caller,
        mut query: InstanceQuery,
        keep: impl Fn(&Instance, Option<&Health>) -> bool,
    ) -> Listed {
        query.project = caller.scope();
        let wanted = query.limit;
        let mut items = Vec::new();
        loop {
            let page = self.repo().view().list(&query);
            let kept = page.items.into_iter().filter(|instance| {
                let health = self.health();
                health.with(instance.id, |health| keep(instance, health))
            });
            items.extend(kept);
            let full = wanted.is_none_or(|wanted| items.len() >= wanted);
            if full || page.next.is_none() {
                return Listed {
                    items,
                    next: page.next,
                };
            }
            query.after = page.next;
            query.limit = wanted.map(|wanted| wanted - items.len());
        }
    }

    /// A part of the caller's instances, and how many there are in all.
    pub fn page_of_instances(
        &self,
        caller: &Caller,
        mut query: InstanceQuery,
    ) -> Page<Arc<Instance>, Cursor> {
        if let Some(own) = caller.scope() {
            if query.project.is_some_and(|asked| asked != own) {
                // Another project's are as if they were not there.
                query.projects = Some(Vec::new());
            }
            query.project = Some(own);
        }
        self.repo().view().list(&query)
    }

    /// Have it deleted. Asking again while that goes on, or when it is done, changes nothing.
    pub async fn delete_instance(
        &self,
        caller: &Caller,
        which: &InstanceRef,
    ) -> Result<Arc<Instance>> {
        self.have(caller, which, OperationKind::Delete).await
    }

    /// Have its servers ended; everything else is kept. As with a deletion, asking again changes nothing.
    pub async fn stop_instance(
        &self,
        caller: &Caller,
        which: &InstanceRef,
    ) -> Result<Arc<Instance>> {
        self.have(caller, which, OperationKind::Stop).await
    }

    pub async fn start_instance(
        &self,
        caller: &Caller,
        which: &InstanceRef,
    ) -> Result<Arc<Instance>> {
        self.have(caller, which, OperationKind::Start).await
    }

    /// Asked for again while it goes on, it is the same one.
    pub async fn restart_instance(
        &self,
        caller: &Caller,
        which: &InstanceRef,
    ) -> Result<Arc<Instance>> {
        self.have(caller, which, OperationKind::Restart).await
    }

    /// The operation that holds the instance, if one does.
    pub async fn current_operation(&self, instance: &Instance) -> Result<Option<Operation>> {
        let Some(id) = instance.operation else {
            return Ok(None);
        };
        Ok(self.repo().operation(id).await?.map(|found| found.value))
    }

    /// How the instance has fared, newest last; also of one that is stopped or deleted.
    pub async fn health_history(&self, id: InstanceId) -> Result<History> {
        match self.health().history(id) {
            Some(history) => Ok(history),
            None => self.repo().health_history(id).await,
        }
    }

    /// How the members are held, as far as this machine knows. Empty for an instance of another one.
    pub async fn confinement(&self, instance: &Instance) -> Result<Vec<Confinement>> {
        let plugins = Arc::clone(&self.0.parts.plugins);
        let id = instance.id;
        let read = tokio::task::spawn_blocking(move || plugins.confinement(id)).await;
        read.map_err(Error::internal)
    }

    pub(super) async fn have(
        &self,
        caller: &Caller,
        which: &InstanceRef,
        kind: OperationKind,
    ) -> Result<Arc<Instance>> {
        let id = self.instance(caller, which)?.id;
        let control = self.clone();
        let caller = caller.clone();
        unbroken(caller.held.clone(), async move {
            control.begin(&caller, id, kind).await
        })
        .await
    }

    /// Goes by the store: the read model may be a moment behind, and "it is so already" must be true.
    async fn begin(
        &self,
        caller: &Caller,
        id: InstanceId,
        kind: OperationKind,
    ) -> Result<Arc<Instance>> {
        let instance = self.repo().stored_instance(id).await?;
        if instance.phase().already(kind) {
            return Ok(instance);
        }
        // What frees resources is never put off.
        match kind {
            OperationKind::Create
            | OperationKind::Start
            | OperationKind::Restart
            | OperationKind::Configure
            | OperationKind::RenewCertificate => self.check_load()?,
            // Nor is shutting somebody out.
            OperationKind::Stop | OperationKind::SetAccess | OperationKind::Delete => {}
        }
        let new = self
            .executor()
            .new_operation(kind, caller.request_id.as_deref());
        match self.repo().begin(id, new).await {
            Ok((instance, _)) => {
                self.executor().wake();
                Ok(instance)
            }
            // Another caller may have been first.
            Err(error) => match self.repo().stored_instance(id).await {
                Ok(now) if now.phase().already(kind) => Ok(now),
                Ok(_) | Err(_) => Err(error),
            },
        }
    }
}

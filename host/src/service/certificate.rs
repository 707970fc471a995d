//! What clients trust an instance by.

use std::sync::Arc;

use super::{Caller, Control, InstanceRef};
use crate::model::workload::SecretKind;
use crate::model::{Error, Instance, OperationKind, Result};

impl Control {
    /// The authority that signed the certificate of an instance's endpoints, as PEM.
    pub async fn certificate(&self, caller: &Caller, which: &InstanceRef) -> Result<String> {
        let instance = self.instance(caller, which)?;
        let workload = self.repo().workload(instance.id).await?;
        let requests = workload
            .map(|workload| workload.secrets)
            .unwrap_or_default();
        let name = requests.iter().find_map(|request| match request.kind {
            SecretKind::Certificate(_) => Some(&request.name),
            SecretKind::Password(_) => None,
        });
        let secrets = self.repo().secrets(instance.id).await?;
        let authority = name.and_then(|name| secrets.get(&format!("{name}.ca")));
        authority
            .map(|pem| pem.expose().to_owned())
            .ok_or_else(|| Error::not_found("the database has no certificate yet"))
    }

    /// Have it replaced; clients that trust the old one are refused afterwards.
    pub async fn renew_certificate(
        &self,
        caller: &Caller,
        which: &InstanceRef,
    ) -> Result<Arc<Instance>> {
        self.have(caller, which, OperationKind::RenewCertificate)
            .await
    }
}

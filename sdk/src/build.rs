//! Short ways to write the parts of a workload.

use crate::types::{Command, EndpointPlan, File, NodeSize, SecretKind, SecretRequest, Spec};

impl Command {
    /// A program by its logical name, in a version, without arguments and with an empty environment.
    pub fn new(program: impl Into<String>, version: impl Into<String>) -> Self {
        Self {
            program: program.into(),
            version: version.into(),
            args: Vec::new(),
            env: Vec::new(),
        }
    }

    /// With one more argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.args.push(argument.into());
        self
    }

    /// With more arguments.
    #[must_use]
    pub fn args<T: Into<String>>(mut self, arguments: impl IntoIterator<Item = T>) -> Self {
        self.args.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// With one more variable in its environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }
}

impl File {
    /// A file that the member's group may read.
    pub fn plain(name: impl Into<String>, content: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            content: content.into(),
            sensitive: false,
        }
    }

    /// A file that the member's own user alone may read; `${secret:…}` is allowed in it.
    pub fn sensitive(name: impl Into<String>, content: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            content: content.into(),
            sensitive: true,
        }
    }
}

impl EndpointPlan {
    /// A way in for clients, of the port's name.
    pub fn for_clients(member: impl Into<String>, port: impl Into<String>) -> Self {
        let port = port.into();
        Self {
            name: port.clone(),
            member: member.into(),
            port,
            for_members: false,
        }
    }
}

impl SecretRequest {
    /// Random letters and digits, of this length (16 to 128).
    pub fn password(name: impl Into<String>, length: u32) -> Self {
        Self {
            name: name.into(),
            kind: SecretKind::Password(length),
        }
    }

    /// Days of a certificate that is to last as long as its instance may: nothing renews one by itself yet.
    pub const LASTING: u32 = 3650;

    /// A private CA and a certificate for the endpoints, valid for this many days.
    pub fn certificate(name: impl Into<String>, days: u32) -> Self {
        Self {
            name: name.into(),
            kind: SecretKind::Certificate(days),
        }
    }
}

impl Spec {
    /// One member of this size, with one core, and nothing chosen or named.
    pub fn of_size(memory_bytes: u64, storage_bytes: u64) -> Self {
        Self {
            id: String::new(),
            name: String::new(),
            slug: String::new(),
            version: String::new(),
            node: NodeSize {
                cpu_millis: 1000,
                memory_bytes,
            },
            storage_bytes,
            members: 1,
            shards: 1,
            user: None,
            database: None,
            settings: Vec::new(),
            init_settings: Vec::new(),
        }
    }
}

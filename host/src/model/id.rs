//! Identities. Newtypes, so that one kind of id is never taken for another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new id; sorts after those made before it.
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

uuid_id!(
    /// An instance: one managed database server, whatever its members.
    InstanceId
);
uuid_id!(
    /// A durable operation on an instance.
    OperationId
);
uuid_id!(
    /// A project, the owner of instances and keys.
    ProjectId
);
uuid_id!(
    /// An API key's public half; the secret half is never stored.
    KeyId
);

/// Letters and digits that an access key is made of.
const ACCESS_KEY_DIGITS: &[u8; 36] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";

impl KeyId {
    /// What clients that send a pair of keys call the public half: `SCW` and 17 letters and digits. It follows from
    /// the id.
    pub fn access_key(self) -> String {
        let mut rest = self.0.as_u128();
        let mut digits = [b'0'; 17];
        for digit in digits.iter_mut().rev() {
            // Below 36, so it fits.
            *digit = ACCESS_KEY_DIGITS[(rest % 36) as usize];
            rest /= 36;
        }
        format!("SCW{}", String::from_utf8_lossy(&digits))
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, ToSchema)]
        $(#[$doc])*
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id!(
    /// What the simple dialect calls an instance: `db_` and 8 hexadecimal digits. Never reused.
    #[schema(pattern = "^db_[0-9a-f]{8}$")]
    Alias
);
text_id!(
    /// SHA-256 of a component's bytes, in hexadecimal: which build of a plugin.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    Digest
);
text_id!(
    /// The host that can reach an instance.
    NodeName
);

impl Alias {
    pub fn generate() -> Self {
        Self(format!("db_{:08x}", rand::random::<u32>()))
    }

    /// `None` unless the text has the form of an alias.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("db_")?;
        let valid = digits.len() == 8
            && digits
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        valid.then(|| Self(text.to_owned()))
    }
}

impl Digest {
    pub fn from_hex(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Enough of it for people to tell builds apart.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl NodeName {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

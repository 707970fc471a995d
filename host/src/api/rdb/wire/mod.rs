//! The dialect's wire types, as its document and its clients have them. Sizes are in bytes, and are numbers; what may be
//! null is written as null; only of several forms of one thing the others are left out.

pub mod catalogue;
pub mod instance;
pub mod later;
pub mod requests;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model;
use crate::model::access::AccessRule;
use crate::model::user::{LogicalDatabase, Permission};

/// What the dialect calls a GB.
pub const GB: u64 = 1_000_000_000;

/// A setting and its value, which is a text whatever its type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = rdb::InstanceSetting)]
pub struct InstanceSetting {
    #[schema(min_length = 1)]
    pub name: String,
    pub value: String,
}

#[derive(Serialize, ToSchema)]
#[schema(as = rdb::Settings)]
pub struct Settings {
    pub settings: Vec<InstanceSetting>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = rdb::User)]
pub struct User {
    pub name: String,
    /// May do all in every managed database, and make databases. Whether it may make users in the engine's own language
    /// too depends on the engine and its version; through the API they can always be made.
    pub is_admin: bool,
}

#[derive(Serialize, ToSchema)]
#[schema(as = rdb::Users)]
pub struct Users {
    pub users: Vec<User>,
    pub total_count: usize,
}

/// A logical database.
#[derive(Serialize, ToSchema)]
#[schema(as = rdb::Database)]
pub struct Database {
    pub name: String,
    pub owner: String,
    /// Privileges on it can be set here.
    pub managed: bool,
    /// In bytes; 0 when it was not asked for.
    pub size: u64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = rdb::Databases)]
pub struct Databases {
    pub databases: Vec<Database>,
    pub total_count: usize,
}

#[derive(Serialize, ToSchema)]
#[schema(as = rdb::Privilege)]
pub struct Privilege {
    #[schema(inline)]
    pub permission: Permission,
    pub database_name: String,
    pub user_name: String,
}

#[derive(Serialize, ToSchema)]
#[schema(as = rdb::Privileges)]
pub struct Privileges {
    pub privileges: Vec<Privilege>,
    pub total_count: usize,
}

/// Clients from this network are let in.
#[derive(Serialize, ToSchema)]
#[schema(as = rdb::AclRule)]
pub struct AclRule {
    /// An address and the length of its prefix.
    pub ip: String,
    #[schema(minimum = 1, maximum = 65535)]
    pub port: Option<u16>,
    pub protocol: Protocol,
    pub direction: Direction,
    pub action: Action,
    pub description: String,
}

#[derive(Serialize, ToSchema)]
#[schema(as = rdb::AclRules)]
pub struct AclRules {
    pub rules: Vec<AclRule>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub total_count: Option<usize>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = rdb::AclRuleProtocol)]
pub enum Protocol {
    Tcp,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = rdb::AclRuleDirection)]
pub enum Direction {
    Inbound,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = rdb::AclRuleAction)]
pub enum Action {
    Allow,
}

/// A file, for who asks for it without `dl`.
#[derive(Serialize, ToSchema)]
#[schema(as = rdb::File)]
pub struct File {
    pub name: &'static str,
    pub content_type: &'static str,
    /// In base64.
    pub content: String,
}

/// Why a request is not served. Beside the type and the message it has the fields of its type.
#[derive(ToSchema)]
#[schema(as = rdb::Error)]
#[expect(dead_code, reason = "it describes; `errors` writes")]
pub struct Error {
    r#type: String,
    #[schema(min_length = 1)]
    message: String,
}

impl From<model::user::User> for User {
    fn from(user: model::user::User) -> Self {
        Self {
            name: user.name,
            is_admin: user.admin,
        }
    }
}

impl From<LogicalDatabase> for Database {
    fn from(database: LogicalDatabase) -> Self {
        Self {
            name: database.name,
            owner: database.owner,
            managed: database.managed,
            size: database.size_bytes.unwrap_or(0),
        }
    }
}

impl From<model::user::Privilege> for Privilege {
    fn from(privilege: model::user::Privilege) -> Self {
        Self {
            permission: privilege.permission,
            database_name: privilege.database,
            user_name: privilege.user,
        }
    }
}

impl AclRule {
    pub fn of(rule: &AccessRule, port: Option<u16>) -> Self {
        Self {
            ip: rule.network.to_string(),
            port,
            protocol: Protocol::Tcp,
            direction: Direction::Inbound,
            action: Action::Allow,
            description: rule.description.clone(),
        }
    }
}

impl Settings {
    pub fn of(settings: &model::setting::Settings) -> Self {
        let settings = settings.iter().map(|(name, value)| InstanceSetting {
            name: name.clone(),
            value: value.clone(),
        });
        Self {
            settings: settings.collect(),
        }
    }
}

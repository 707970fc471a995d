//! What users may do, as the server's roles have it. A permission is exactly the built-in roles of its database that
//! belong to it; whatever else reaches the database was granted in the server's own language, and is `custom`.

use std::collections::{BTreeMap, BTreeSet};

use berth_sdk::engine::users::Permission;
use berth_sdk::{Error, Result};
use bson::{Array, Bson, Document, doc};

use crate::names::USERS_DATABASE;
use crate::session::Session;

/// All that is done with data and indexes, in all databases, and looking at the server. Not making users: whoever may, may
/// give himself every role there is.
const ADMIN: [&str; 3] = [
    "readWriteAnyDatabase",
    "dbAdminAnyDatabase",
    "clusterMonitor",
];

/// Which roles of a database are which permission.
const PERMISSIONS: [(Permission, &[&str]); 4] = [
    (Permission::None, &[]),
    (Permission::Readonly, &["read"]),
    (Permission::Readwrite, &["readWrite"]),
    (Permission::All, &["dbAdmin", "readWrite"]),
];

/// A role, by its name and the database that it is defined in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Role {
    pub name: String,
    pub database: String,
}

/// Where the privileges of a role lie.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Reach {
    /// In all databases, or nobody knows.
    All,
    /// In these.
    Some(BTreeSet<String>),
}

/// How far roles reach that are defined for more than one database.
#[derive(Debug, Default)]
pub struct Reaches(BTreeMap<Role, Reach>);

impl Role {
    pub fn new(name: &str, database: &str) -> Self {
        Self {
            name: name.to_owned(),
            database: database.to_owned(),
        }
    }

    /// Out of a list that the server shows.
    pub fn read(shown: &Array) -> Result<Vec<Self>> {
        let odd = || Error::failed("the server shows a role otherwise than it is understood");
        shown
            .iter()
            .map(|role| {
                let role = role.as_document().ok_or_else(odd)?;
                let field = |name: &str| role.get_str(name).map_err(|_| odd());
                Ok(Self::new(field("role")?, field("db")?))
            })
            .collect()
    }
}

/// As the server takes them.
pub fn shown(roles: &[Role]) -> Array {
    let roles = roles.iter();
    roles
        .map(|role| Bson::Document(doc! {"role": &role.name, "db": &role.database}))
        .collect()
}

pub fn of_admins() -> Vec<Role> {
    ADMIN.map(|name| Role::new(name, USERS_DATABASE)).into()
}

pub fn are_admins(roles: &[Role]) -> bool {
    of_admins().iter().all(|role| roles.contains(role))
}

/// The roles that make it so. None for what cannot be made.
pub fn of(permission: Permission, database: &str) -> Option<Vec<Role>> {
    let (_, names) = PERMISSIONS.iter().find(|(known, _)| *known == permission)?;
    Some(names.iter().map(|name| Role::new(name, database)).collect())
}

impl Reaches {
    /// Ask the server about what is not known of itself.
    pub fn ask<'a>(session: &mut Session, roles: impl Iterator<Item = &'a Role>) -> Result<Self> {
        let far: BTreeSet<_> = roles
            .filter(|role| role.database == USERS_DATABASE && !ADMIN.contains(&&*role.name))
            .cloned()
            .collect();
        if far.is_empty() {
            return Ok(Self::default());
        }
        let asked: Vec<_> = far.iter().cloned().collect();
        let command = doc! {"rolesInfo": shown(&asked), "showPrivileges": true};
        let answer = session.ask("looking at the roles", command)?;
        let described = answer.get_array("roles").map_or(&[][..], |all| all);
        let mut reaches: BTreeMap<_, _> = far.into_iter().map(|role| (role, Reach::All)).collect();
        for description in described.iter().filter_map(Bson::as_document) {
            let role = Role::read(&vec![Bson::Document(description.clone())])?;
            for role in role {
                reaches.insert(role, reach(description));
            }
        }
        Ok(Self(reaches))
    }

    /// Which of these roles reach the database without being its own.
    pub fn reaching<'a>(&self, database: &str, roles: &'a [Role]) -> Option<&'a Role> {
        roles.iter().find(|role| {
            role.database != database
                && match self.0.get(role) {
                    Some(Reach::All) => true,
                    Some(Reach::Some(databases)) => databases.contains(database),
                    // Of another database, or of an admin's, which count only together.
                    None => role.database == USERS_DATABASE,
                }
        })
    }

    pub fn permission(&self, database: &str, roles: &[Role]) -> Permission {
        if are_admins(roles) {
            return Permission::All;
        }
        if self.reaching(database, roles).is_some() {
            return Permission::Custom;
        }
        let here = roles.iter().filter(|role| role.database == database);
        let here: BTreeSet<&str> = here.map(|role| &*role.name).collect();
        let found = PERMISSIONS
            .iter()
            .find(|(_, names)| names.iter().copied().collect::<BTreeSet<_>>() == here);
        found.map_or(Permission::Custom, |(permission, _)| *permission)
    }
}

/// Manual, "Resource Document": no name of a database stands for all, and so does any resource.
fn reach(description: &Document) -> Reach {
    let Ok(privileges) = description.get_array("inheritedPrivileges") else {
        return Reach::All;
    };
    let mut databases = BTreeSet::new();
    for privilege in privileges {
        let resource = privilege
            .as_document()
            .and_then(|privilege| privilege.get_document("resource").ok());
        let Some(resource) = resource else {
            return Reach::All;
        };
        match resource.get_str("db") {
            Ok("") => return Reach::All,
            Ok(database) => drop(databases.insert(database.to_owned())),
            Err(_) if resource.get_bool("cluster").unwrap_or_default() => {}
            Err(_) => return Reach::All,
        }
    }
    Reach::Some(databases)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permission(roles: &[(&str, &str)], reaches: &Reaches) -> Permission {
        let roles: Vec<_> = roles.iter().map(|(name, db)| Role::new(name, db)).collect();
        reaches.permission("shop", &roles)
    }

    #[test]
    fn what_is_read_is_what_was_set() {
        for wanted in [
            Permission::None,
            Permission::Readonly,
            Permission::Readwrite,
            Permission::All,
        ] {
            let mut roles = of(wanted, "shop").unwrap();
            roles.push(Role::new("read", "other"));
            assert_eq!(Reaches::default().permission("shop", &roles), wanted);
        }
        assert!(of(Permission::Custom, "shop").is_none());
    }

    #[test]
    fn what_was_granted_otherwise_is_custom() {
        let none = Reaches::default();
        for roles in [
            &[("dbOwner", "shop")][..],
            &[("dbAdmin", "shop")],
            &[("read", "shop"), ("readWrite", "shop")],
            &[("own", "shop")],
            // One of an admin's alone.
            &[("readWriteAnyDatabase", "admin")],
        ] {
            assert_eq!(permission(roles, &none), Permission::Custom, "{roles:?}");
        }
        let admin: Vec<_> = of_admins();
        assert_eq!(none.permission("shop", &admin), Permission::All);
    }

    #[test]
    fn a_role_of_all_databases_counts_where_its_privileges_lie() {
        let with = |description: Document| {
            let role = Role::new("own", "admin");
            Reaches(BTreeMap::from([(role, reach(&description))]))
        };
        let privileges = |resource: Document| doc! {"inheritedPrivileges": [{"resource": resource, "actions": ["find"]}]};
        let of = |description| permission(&[("own", "admin")], &with(description));
        assert_eq!(of(doc! {}), Permission::Custom);
        assert_eq!(
            of(privileges(doc! {"anyResource": true})),
            Permission::Custom
        );
        assert_eq!(
            of(privileges(doc! {"db": "", "collection": ""})),
            Permission::Custom
        );
        assert_eq!(
            of(privileges(doc! {"db": "shop", "collection": "x"})),
            Permission::Custom
        );
        assert_eq!(
            of(privileges(doc! {"db": "other", "collection": ""})),
            Permission::None
        );
        assert_eq!(of(privileges(doc! {"cluster": true})), Permission::None);
    }

    #[test]
    fn nobody_may_make_users_or_rule_the_server() {
        let permissions = PERMISSIONS.iter().flat_map(|(_, names)| names.iter());
        for name in permissions.chain(&ADMIN) {
            for part in [
                "root",
                "__system",
                "user",
                "User",
                "Owner",
                "Manager",
                "clusterAdmin",
                "backup",
                "restore",
            ] {
                assert!(!name.contains(part), "{name}");
            }
        }
    }
}

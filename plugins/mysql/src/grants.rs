//! What was granted to whom, and what that comes to. Read from the server's own tables as it is now, so that what
//! somebody changed in SQL shows. Whether it is one of the permissions that Berth knows is decided here, without a server.
//!
//! With `partial_revokes` names of databases are no patterns, and a right on all databases may be taken back for one.

use std::collections::{BTreeMap, BTreeSet};

use berth_sdk::Result;
use berth_sdk::engine::users::Permission;

use crate::names::{ADMINS, SUPERUSER, literal};
use crate::session::{Session, text};
use crate::wire::Row;

/// Rights that there are on a database, with the columns that hold them.
pub const RIGHTS: [(&str, &str); 18] = [
    ("Select_priv", "SELECT"),
    ("Insert_priv", "INSERT"),
    ("Update_priv", "UPDATE"),
    ("Delete_priv", "DELETE"),
    ("Create_priv", "CREATE"),
    ("Drop_priv", "DROP"),
    ("References_priv", "REFERENCES"),
    ("Index_priv", "INDEX"),
    ("Alter_priv", "ALTER"),
    ("Create_tmp_table_priv", "CREATE TEMPORARY TABLES"),
    ("Lock_tables_priv", "LOCK TABLES"),
    ("Create_view_priv", "CREATE VIEW"),
    ("Show_view_priv", "SHOW VIEW"),
    ("Create_routine_priv", "CREATE ROUTINE"),
    ("Alter_routine_priv", "ALTER ROUTINE"),
    ("Execute_priv", "EXECUTE"),
    ("Event_priv", "EVENT"),
    ("Trigger_priv", "TRIGGER"),
];

/// Some of the rights, a bit for each, and one above them for the right to hand them on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights(u32);

const HAND_ON: u32 = 1 << RIGHTS.len();

/// User and host. A user is all the accounts of its name.
pub type Account = (String, String);

/// All that matters of what was granted.
#[derive(Debug, Default)]
pub struct Grants {
    /// Everybody's rights on all databases; roles are accounts too.
    pub accounts: BTreeMap<Account, Rights>,
    /// Accounts that nobody can log in as: no password, expired and locked.
    roles: BTreeSet<Account>,
    /// Rights on all databases that were taken back for one.
    taken_back: BTreeMap<(Account, String), Rights>,
    databases: BTreeMap<(Account, String), Rights>,
    /// Rights on something in a database: its kind, and its name.
    pub finer: BTreeMap<(Account, String), BTreeSet<(String, String)>>,
    /// From an account to the roles that it is a member of.
    members: BTreeMap<Account, BTreeSet<Account>>,
}

impl Rights {
    pub const ALL: Self = Self(HAND_ON - 1);
    /// Reading, and seeing how a view is made.
    const READ: Self = Self(1 | 1 << 12);
    /// Besides: changing rows, calling routines, locks and temporary tables.
    const WRITE: Self = Self(0b1111 | 1 << 9 | 1 << 10 | 1 << 12 | 1 << 15);

    /// Looking and asking, without leaving anything.
    pub const SEES: Self = Self(1 | 1 << 9 | 1 << 10 | 1 << 12 | 1 << 15);

    /// None for a permission that is none of the four.
    pub fn of(permission: Permission) -> Option<Self> {
        match permission {
            Permission::None => Some(Self::default()),
            Permission::Readonly => Some(Self::READ),
            Permission::Readwrite => Some(Self::WRITE),
            Permission::All => Some(Self::ALL),
            Permission::Custom => None,
        }
    }

    fn permission(self) -> Permission {
        [
            Permission::None,
            Permission::Readonly,
            Permission::Readwrite,
            Permission::All,
        ]
        .into_iter()
        .find(|permission| Self::of(*permission) == Some(self))
        .unwrap_or(Permission::Custom)
    }

    /// `Y` and `N` for each right, and for handing on.
    fn read(letters: &str) -> Self {
        let bits = letters
            .chars()
            .enumerate()
            .filter(|(_, letter)| *letter == 'Y');
        Self(bits.fold(0, |all, (bit, _)| all | 1 << bit))
    }

    /// As the server writes down what was taken back.
    fn named(name: &str) -> Self {
        if name == "GRANT" {
            return Self(HAND_ON);
        }
        let bit = RIGHTS.iter().position(|(_, right)| *right == name);
        Self(bit.map_or(0, |bit| 1 << bit))
    }

    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// As a statement lists them; empty when there are none.
    pub fn sql(self) -> String {
        let names = RIGHTS.iter().map(|(_, name)| *name).chain(["GRANT OPTION"]);
        let held = names
            .enumerate()
            .filter(|(bit, _)| self.0 & (1 << bit) != 0);
        held.map(|(_, name)| name).collect::<Vec<_>>().join(", ")
    }
}

impl Grants {
    pub fn read(session: &mut Session) -> Result<Self> {
        let mut all = Self::default();
        let letters = RIGHTS.map(|(column, _)| column).join(", ");
        let mut ask = |what: &str| session.rows("reading what was granted", what);
        let sql = format!(
            "SELECT User, Host, CONCAT({letters}, Grant_priv), \
             account_locked = 'Y' AND password_expired = 'Y' AND authentication_string = '' FROM mysql.user"
        );
        for row in ask(&sql)? {
            let account = account(&row, 0)?;
            if text(&row, 3)? == "1" {
                all.roles.insert(account.clone());
            }
            all.accounts.insert(account, Rights::read(text(&row, 2)?));
        }
        let sql = format!("SELECT User, Host, Db, CONCAT({letters}, Grant_priv) FROM mysql.db");
        for row in ask(&sql)? {
            let key = (account(&row, 0)?, text(&row, 2)?.to_owned());
            all.databases.insert(key, Rights::read(text(&row, 3)?));
        }
        for row in ask(TAKEN_BACK)? {
            let key = (account(&row, 0)?, text(&row, 2)?.to_owned());
            let held = all.taken_back.entry(key).or_default();
            *held = held.and(Rights::named(text(&row, 3)?));
        }
        for row in ask(FINER)? {
            let key = (account(&row, 0)?, text(&row, 2)?.to_owned());
            let what = (text(&row, 3)?.to_owned(), text(&row, 4)?.to_owned());
            all.finer.entry(key).or_default().insert(what);
        }
        let sql = "SELECT TO_USER, TO_HOST, FROM_USER, FROM_HOST FROM mysql.role_edges";
        for row in ask(sql)? {
            let roles = all.members.entry(account(&row, 0)?).or_default();
            roles.insert(account(&row, 2)?);
        }
        Ok(all)
    }

    /// Whoever can log in, but for the server's accounts and Berth's. The role of admins is among them when somebody made
    /// an account for logging in of it. One without a name is everybody, and no API can name it.
    pub fn users(&self) -> BTreeSet<&str> {
        let all = self.accounts.keys();
        let callers = all.filter(|account| !self.roles.contains(account) && !is_own(account));
        let names = callers.map(|account| &*account.0);
        names.filter(|name| !name.is_empty()).collect()
    }

    /// The accounts of a user, which are made and removed with it: none of the server's or Berth's.
    pub fn accounts_of(&self, user: &str) -> Vec<&Account> {
        let named = self.named(user);
        named.filter(|account| **account != admins()).collect()
    }

    /// What somebody of this name may log in as: the role of admins too, where somebody made an account for that of it.
    fn logins_of(&self, user: &str) -> Vec<&Account> {
        let named = self.named(user);
        named
            .filter(|account| **account != admins() || !self.is_role(account))
            .collect()
    }

    fn named(&self, user: &str) -> impl Iterator<Item = &Account> {
        let all = self.accounts.keys();
        all.filter(move |account| account.0 == user && !is_own(account))
    }

    /// Nobody can log in as this account.
    pub fn is_role(&self, account: &Account) -> bool {
        self.roles.contains(account)
    }

    /// Every account of the user is a member of the role of admins, by whatever way, or that role itself.
    pub fn is_admin(&self, user: &str) -> bool {
        let accounts = self.logins_of(user);
        let rules = |account: &&Account| {
            **account == admins() || self.roles_of(account).contains(&admins())
        };
        !accounts.is_empty() && accounts.iter().all(rules)
    }

    /// It is a member of the role of admins itself.
    pub fn is_member(&self, account: &Account) -> bool {
        let roles = self.members.get(account);
        roles.is_some_and(|roles| roles.contains(&admins()))
    }

    /// What a user may do in a database: what all of its accounts may.
    pub fn permission(&self, user: &str, database: &str) -> Permission {
        if self.is_admin(user) {
            return Permission::All;
        }
        let mut seen = self
            .logins_of(user)
            .into_iter()
            .map(|account| self.permission_of(account, database));
        let Some(first) = seen.next() else {
            return Permission::None;
        };
        if seen.all(|other| other == first) {
            first
        } else {
            Permission::Custom
        }
    }

    fn permission_of(&self, account: &Account, database: &str) -> Permission {
        let other = self
            .finer
            .contains_key(&(account.clone(), database.to_owned()))
            || self.has_more(account, database);
        if other {
            return Permission::Custom;
        }
        self.direct(account, database).permission()
    }

    /// Whether an account has rights in the database in another way than by a grant on it: on all databases, by a role,
    /// or because everybody has.
    pub fn has_more(&self, account: &Account, database: &str) -> bool {
        let everybody = |(held, name): &(Account, String)| held.0.is_empty() && name == database;
        let by_role = |role: &Account| {
            !self.direct(role, database).is_empty()
                || !self.global(role, database).is_empty()
                || self
                    .finer
                    .contains_key(&(role.clone(), database.to_owned()))
        };
        !self.global(account, database).is_empty()
            || self.databases.keys().any(everybody)
            || self.finer.keys().any(everybody)
            || self.roles_of(account).iter().any(|role| by_role(role))
    }

    /// What was granted to it on this database.
    pub fn direct(&self, account: &Account, database: &str) -> Rights {
        let key = (account.clone(), database.to_owned());
        self.databases.get(&key).copied().unwrap_or_default()
    }

    /// To whom anything in this database was granted.
    pub fn grantees(&self, database: &str) -> BTreeSet<&Account> {
        let all = self.databases.keys().chain(self.finer.keys());
        let here = all.filter(|(_, name)| name == database);
        here.map(|(account, _)| account).collect()
    }

    /// What it may do in this database by its own grants.
    pub fn effective(&self, account: &Account, database: &str) -> Rights {
        self.direct(account, database)
            .and(self.global(account, database))
    }

    /// What it may do in this database because it may in all. To hand on alone is nothing.
    fn global(&self, account: &Account, database: &str) -> Rights {
        let all = self.accounts.get(account).copied().unwrap_or_default();
        let key = (account.clone(), database.to_owned());
        let taken = self.taken_back.get(&key).copied().unwrap_or_default();
        all.without(taken).without(Rights(HAND_ON))
    }

    /// In which databases rights on all of them were taken back from it, and which.
    pub fn taken_from(&self, account: &Account) -> impl Iterator<Item = (&str, Rights)> {
        let all = self.taken_back.iter();
        let its = all.filter(move |((held, _), _)| held == account);
        its.map(|((_, database), taken)| (&**database, *taken))
    }

    /// The roles of an account, and theirs.
    fn roles_of(&self, account: &Account) -> BTreeSet<&Account> {
        let mut found = BTreeSet::new();
        let mut next = vec![account];
        while let Some(account) = next.pop() {
            for role in self.members.get(account).into_iter().flatten() {
                if found.insert(role) {
                    next.push(role);
                }
            }
        }
        found
    }
}

/// The role of admins.
pub fn admins() -> Account {
    (ADMINS.to_owned(), "%".to_owned())
}

/// Whether the server made it for itself, or Berth. By its host as well: an admin can make others of these names.
fn is_own((user, host): &Account) -> bool {
    let own = [SUPERUSER, "mysql.infoschema", "mysql.session", "mysql.sys"];
    host == "localhost" && own.contains(&&**user)
}

/// An account in a statement.
pub fn quoted(account: &Account) -> String {
    format!("{}@{}", literal(&account.0), literal(&account.1))
}

fn account(row: &Row, column: usize) -> Result<Account> {
    Ok((
        text(row, column)?.to_owned(),
        text(row, column + 1)?.to_owned(),
    ))
}

const TAKEN_BACK: &str = "SELECT u.User, u.Host, r.name, r.kind FROM mysql.user u, \
    JSON_TABLE(u.User_attributes, '$.Restrictions[*]' COLUMNS (name VARCHAR(64) PATH '$.Database', \
    NESTED PATH '$.Privileges[*]' COLUMNS (kind VARCHAR(64) PATH '$'))) r WHERE r.kind IS NOT NULL";

/// A right on a column counts as one on its table, from which it is taken in the same way.
const FINER: &str = "SELECT User, Host, Db, 'TABLE', Table_name FROM mysql.tables_priv \
    UNION SELECT User, Host, Db, 'TABLE', Table_name FROM mysql.columns_priv \
    UNION SELECT User, Host, Db, CAST(Routine_type AS CHAR), Routine_name FROM mysql.procs_priv";

#[cfg(test)]
mod tests {
    use super::*;

    fn account(name: &str) -> Account {
        (name.into(), "%".into())
    }

    fn with(names: &[&str]) -> Grants {
        let accounts = names.iter().map(|name| (account(name), Rights::default()));
        Grants {
            accounts: accounts.collect(),
            ..Grants::default()
        }
    }

    fn on(grants: &mut Grants, name: &str, database: &str, rights: Rights) {
        let key = (account(name), database.to_owned());
        grants.databases.insert(key, rights);
    }

    #[test]
    fn the_four_permissions_are_what_they_grant() {
        assert_eq!(Rights::READ.sql(), "SELECT, SHOW VIEW");
        assert_eq!(
            Rights::WRITE.sql(),
            "SELECT, INSERT, UPDATE, DELETE, CREATE TEMPORARY TABLES, LOCK TABLES, SHOW VIEW, EXECUTE"
        );
        let letters = format!("{}N", "Y".repeat(18));
        assert_eq!(Rights::read(&letters), Rights::ALL);
        assert_eq!(Rights::named("GRANT").sql(), "GRANT OPTION");
        assert_eq!(
            Rights::read(&"Y".repeat(19)).permission(),
            Permission::Custom
        );
        assert_eq!(Rights::read(&"N".repeat(19)).permission(), Permission::None);
    }

    #[test]
    fn what_is_granted_on_a_database_is_seen_and_nothing_else_is() {
        let mut grants = with(&["ann", "bob"]);
        on(&mut grants, "ann", "shop", Rights::READ);
        assert_eq!(grants.permission("ann", "shop"), Permission::Readonly);
        assert_eq!(grants.permission("ann", "shop_"), Permission::None);
        assert_eq!(grants.permission("bob", "shop"), Permission::None);
        on(&mut grants, "ann", "shop", Rights::named("INSERT"));
        assert_eq!(grants.permission("ann", "shop"), Permission::Custom);
        on(&mut grants, "", "shop", Rights::READ);
        assert_eq!(grants.permission("bob", "shop"), Permission::Custom);
    }

    #[test]
    fn rights_on_all_databases_count_where_they_were_not_taken_back() {
        let mut grants = with(&["ann"]);
        grants.accounts.insert(account("ann"), Rights::READ);
        assert_eq!(grants.permission("ann", "shop"), Permission::Custom);
        let key = (account("ann"), "shop".to_owned());
        grants.taken_back.insert(key, Rights::READ);
        assert_eq!(grants.taken_from(&account("ann")).count(), 1);
        assert_eq!(grants.taken_from(&account("bob")).count(), 0);
        assert_eq!(grants.permission("ann", "shop"), Permission::None);
    }

    #[test]
    fn finer_rights_and_other_roles_are_custom() {
        let mut grants = with(&["ann", "team"]);
        let key = (account("ann"), "shop".to_owned());
        let table = ("TABLE".to_owned(), "t".to_owned());
        grants.finer.insert(key.clone(), [table].into());
        assert_eq!(grants.permission("ann", "shop"), Permission::Custom);
        grants.finer.remove(&key);
        grants
            .members
            .insert(account("ann"), [account("team")].into());
        assert_eq!(grants.permission("ann", "shop"), Permission::None);
        on(&mut grants, "team", "shop", Rights::READ);
        assert_eq!(grants.permission("ann", "shop"), Permission::Custom);
    }

    #[test]
    fn accounts_of_one_name_are_one_user() {
        let mut grants = with(&["ann", ""]);
        let other = ("ann".to_owned(), "10.0.0.1".to_owned());
        grants.accounts.insert(other.clone(), Rights::default());
        assert_eq!(grants.users(), BTreeSet::from(["ann"]));
        on(&mut grants, "ann", "shop", Rights::READ);
        assert_eq!(grants.permission("ann", "shop"), Permission::Custom);
        let admins = account(ADMINS);
        grants
            .members
            .insert(account("ann"), [admins.clone()].into());
        assert!(!grants.is_admin("ann"));
        grants.members.insert(other, [admins].into());
        assert!(grants.is_admin("ann"));
        assert_eq!(grants.permission("ann", "shop"), Permission::All);
        grants.roles.insert(account("ann"));
        assert_eq!(grants.accounts_of("ann").len(), 2);
    }

    #[test]
    fn whoever_can_log_in_is_seen() {
        let mut grants = with(&["berth", "_rdb_x", "_rdb_superadmin", "mysql.x", "mysql.sys"]);
        for own in ["berth", "mysql.sys", "mysql.session", "mysql.infoschema"] {
            let own = (own.to_owned(), "localhost".to_owned());
            grants.accounts.insert(own, Rights::ALL);
        }
        let all = ["_rdb_superadmin", "_rdb_x", "berth", "mysql.sys", "mysql.x"];
        assert_eq!(grants.users(), BTreeSet::from(all));
        assert!(grants.is_admin("_rdb_superadmin") && !grants.is_admin("_rdb_x"));
        let other = ("_rdb_superadmin".to_owned(), "10.0.0.1".to_owned());
        grants.accounts.insert(other.clone(), Rights::default());
        assert!(!grants.is_admin("_rdb_superadmin"), "not by that account");
        grants.accounts.remove(&other);
        grants.roles.insert(admins());
        assert!(!grants.is_admin("_rdb_superadmin"), "nobody logs in as it");
        assert_eq!(grants.users(), all[1..].iter().copied().collect());
        // What is removed with such a user is never Berth's own.
        assert_eq!(grants.accounts_of("berth"), [&account("berth")]);
        assert!(grants.accounts_of("_rdb_superadmin").is_empty());
    }
}

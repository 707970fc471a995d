//! The server's users as its access rules have them. What a user may do is one of five lists of rules; which one a user
//! has, is seen by what he may do now, so that what somebody changed in the server's own language shows.
//!
//! A change is made in memory and then written to the file of users. When that does not succeed, it is taken back.

use std::collections::{BTreeMap, BTreeSet};

use berth_sdk::engine::users::Permission;
use berth_sdk::{Error, Result};
use redis::{Cmd, Pipeline, Value, from_redis_value};
use sha2::{Digest, Sha256};

use crate::names::{BERTH, DEFAULT};
use crate::session::Session;

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Admin,
    May(Permission),
}

/// What is read, with what of it the server counts as dangerous for its cost alone; running scripts, which may do no
/// more than who runs them, but not looking into one (here and below): while somebody does, the server waits for him
/// alone; listening to channels.
const READONLY: &[&str] = &[
    "%R~*",
    "&*",
    "+@read",
    "+@connection",
    "+@transaction",
    "+@scripting",
    "+@pubsub",
    "-@write",
    "-@admin",
    "-@dangerous",
    "-publish",
    "-spublish",
    "-script|debug",
    "-script|flush",
    "-script|kill",
    "-function|kill",
    "+keys",
    "+info",
    "+sort_ro",
    "+time",
];
/// Reading and writing of keys. Functions stay as they are, and nothing is emptied at one go.
const READWRITE: &[&str] = &[
    "~*",
    "&*",
    "+@read",
    "+@write",
    "+@connection",
    "+@transaction",
    "+@scripting",
    "+@pubsub",
    "-@admin",
    "-@dangerous",
    "-script|debug",
    "-function|load",
    "-function|delete",
    "-function|flush",
    "-function|restore",
    "-function|kill",
    "+keys",
    "+info",
    "+sort",
    "+sort_ro",
    "+time",
];
/// All that there is to be done with data.
const ALL: &[&str] = &[
    "~*",
    "&*",
    "+@all",
    "-@admin",
    "-@dangerous",
    "-script|debug",
    "+keys",
    "+info",
    "+sort",
    "+sort_ro",
    "+flushall",
    "+flushdb",
    "+swapdb",
    "+restore",
];
/// And to look at the server and to end others' connections. Not to make users: whoever may, may make himself one that
/// rules the server, and by its settings what it runs as.
const ADMIN: &[&str] = &[
    "~*",
    "&*",
    "+@all",
    "-@admin",
    "-@dangerous",
    "-script|debug",
    "+keys",
    "+info",
    "+sort",
    "+sort_ro",
    "+flushall",
    "+flushdb",
    "+swapdb",
    "+restore",
    "+acl|users",
    "+client|list",
    "+client|kill",
    "+client|unblock",
    "+config|get",
    "+lastsave",
    "+latency",
    "+role",
    "+slowlog",
];

/// What clients of a cluster ask to find their way. What changes it is for nobody but Berth: it is among the dangerous.
const CLUSTER: &[&str] = &[
    "+cluster|slots",
    "+cluster|shards",
    "+cluster|nodes",
    "+cluster|info",
    "+cluster|myid",
    "+cluster|keyslot",
    "+cluster|countkeysinslot",
    "+cluster|getkeysinslot",
];

/// For a moment, within a transaction, to learn how the server writes a list of rules.
const PROBE: &str = "_rdb_probe";

/// A user as the server shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    flags: BTreeSet<String>,
    passwords: Vec<String>,
    may: May,
}

/// What an entry lets its user do. The server does not always name commands in the same order.
#[derive(Clone, Debug, PartialEq, Eq)]
struct May {
    commands: Vec<String>,
    keys: String,
    channels: String,
    /// How many further lists of rules there are. Berth makes none.
    selectors: usize,
}

/// What is known of a running server's users.
pub struct Users {
    pub entries: BTreeMap<String, Entry>,
    known: Vec<(Standing, May)>,
}

impl Standing {
    const KNOWN: [Self; 4] = [
        Self::Admin,
        Self::May(Permission::All),
        Self::May(Permission::Readwrite),
        Self::May(Permission::Readonly),
    ];

    /// The rules that make it so, whatever was before. Where the data are not divided they are as they ever were, or
    /// those who were given them by an older build would be taken for somebody else.
    pub fn rules(self, is_sharded: bool) -> Vec<String> {
        let rules: &[&str] = match self {
            Self::Admin => ADMIN,
            Self::May(Permission::All) => ALL,
            Self::May(Permission::Readwrite) => READWRITE,
            Self::May(Permission::Readonly) => READONLY,
            Self::May(Permission::Custom | Permission::None) => &[],
        };
        let none = ["clearselectors", "resetkeys", "resetchannels", "-@all"];
        let further = if is_sharded && !rules.is_empty() {
            CLUSTER
        } else {
            &[]
        };
        let all = none.iter().chain(rules).chain(further);
        all.map(|rule| (*rule).to_owned()).collect()
    }
}

impl Users {
    pub fn read(session: &mut Session) -> Result<Self> {
        let doing = "reading the users";
        let names: Vec<String> = session.ask(doing, redis::cmd("ACL").arg("USERS"))?;
        let mut all = redis::pipe();
        all.atomic();
        for standing in Standing::KNOWN {
            let rules = standing.rules(session.is_sharded);
            all.add_command(set(PROBE, rules)).ignore();
            all.add_command(get(PROBE));
        }
        all.cmd("ACL").arg("DELUSER").arg(PROBE).ignore();
        names.iter().for_each(|name| drop_into(&mut all, get(name)));
        let mut shown: Vec<Value> = session.ask_all(doing, &all)?;
        if shown.len() != Standing::KNOWN.len() + names.len() {
            return Err(Error::failed("the server did not show all of its users"));
        }
        let mut known = Vec::new();
        for (standing, value) in Standing::KNOWN.into_iter().zip(shown.drain(..4)) {
            let probe = Entry::read(value)?;
            let probe = probe.ok_or_else(|| Error::failed("the server does not show a user"))?;
            known.push((standing, probe.may));
        }
        let mut entries = BTreeMap::new();
        for (name, value) in names.into_iter().zip(shown) {
            // One that is gone since is not there.
            let entry = Entry::read(value)?.filter(|entry| is_listed(&name, entry));
            entries.extend(entry.map(|entry| (name, entry)));
        }
        Ok(Self { entries, known })
    }

    pub fn standing(&self, entry: &Entry) -> Standing {
        if entry.may.selectors == 0 && entry.may.commands == ["-@all"] {
            return Standing::May(Permission::None);
        }
        let found = self.known.iter().find(|(_, may)| *may == entry.may);
        found.map_or(Standing::May(Permission::Custom), |(standing, _)| *standing)
    }
}

impl Entry {
    fn read(value: Value) -> Result<Option<Self>> {
        if matches!(value, Value::Nil) {
            return Ok(None);
        }
        let odd = || Error::failed("the server shows a user otherwise than it is understood");
        let fields: BTreeMap<String, Value> = from_redis_value(value).map_err(|_| odd())?;
        let field = |name: &str| fields.get(name).cloned().ok_or_else(odd);
        let text = |name| from_redis_value::<String>(field(name)?).map_err(|_| odd());
        let texts = |name| from_redis_value::<Vec<String>>(field(name)?).map_err(|_| odd());
        let selectors: Vec<Value> = from_redis_value(field("selectors")?).map_err(|_| odd())?;
        let mut commands: Vec<String> = text("commands")?.split(' ').map(str::to_owned).collect();
        // What comes first says what is taken away or added by the others, whose order says nothing where ours is read.
        if let Some((_, rest)) = commands.split_first_mut() {
            rest.sort_unstable();
        }
        Ok(Some(Self {
            flags: texts("flags")?.into_iter().collect(),
            passwords: texts("passwords")?,
            may: May {
                commands,
                keys: text("keys")?,
                channels: text("channels")?,
                selectors: selectors.len(),
            },
        }))
    }
}

/// Whether there is a user of this name, whoever's it is.
fn shown(session: &mut Session, name: &str) -> Result<Value> {
    session.ask("looking for the user", &get(name))
}

/// What a user was before it was changed.
pub struct Before(Value);

/// Change a user by these rules, or make it, and write that down.
pub fn change(session: &mut Session, name: &str, rules: &[String]) -> Result<Before> {
    let before = shown(session, name)?;
    session.ask::<()>("changing the user", &set(name, rules.to_vec()))?;
    save_or(session, name, before)
}

/// Remove a user, and write that down. Whom the server does not do without loses all rights.
pub fn remove(session: &mut Session, name: &str) -> Result<Before> {
    let before = shown(session, name)?;
    session.ask::<Value>("removing the user", &removal(name))?;
    save_or(session, name, before)
}

/// Have a user be again what it was, as far as the server can be told.
pub fn take_back(session: &mut Session, name: &str, before: Before) {
    back(session, name, before.0);
    drop(save(session));
}

/// Write down what holds in memory. After that it outlives the server.
pub fn save(session: &mut Session) -> Result<()> {
    session.ask::<()>("writing the users down", redis::cmd("ACL").arg("SAVE"))
}

/// The rule that makes this the one password, without saying it.
pub fn password_rules(password: &str) -> [String; 2] {
    let digest = Sha256::digest(password.as_bytes());
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    ["resetpass".to_owned(), format!("#{hex}")]
}

fn save_or(session: &mut Session, name: &str, before: Value) -> Result<Before> {
    let Err(error) = save(session) else {
        return Ok(Before(before));
    };
    back(session, name, before);
    Err(error)
}

/// A server that went away has read its file since, or will.
fn back(session: &mut Session, name: &str, before: Value) {
    let back = match again(before) {
        Some(rules) => set(name, rules),
        None => removal(name),
    };
    drop(session.ask::<Value>("taking the change back", &back));
}

/// The rules that make a user as he was shown. None for one that was not there.
fn again(shown: Value) -> Option<Vec<String>> {
    if matches!(shown, Value::Nil) {
        return None;
    }
    let fields: BTreeMap<String, Value> = from_redis_value(shown).ok()?;
    let words = |name: &str| -> Vec<String> {
        let value = fields.get(name).cloned().unwrap_or(Value::Nil);
        let text: String = from_redis_value(value).unwrap_or_default();
        text.split_whitespace().map(str::to_owned).collect()
    };
    let list = |name: &str| -> Vec<String> {
        let value = fields.get(name).cloned().unwrap_or(Value::Nil);
        from_redis_value(value).unwrap_or_default()
    };
    let mut rules = vec!["reset".to_owned()];
    rules.extend(list("flags"));
    rules.extend(list("passwords").into_iter().map(|hash| format!("#{hash}")));
    rules.extend(["keys", "channels", "commands"].into_iter().flat_map(words));
    Some(rules)
}

fn removal(name: &str) -> Cmd {
    if name == DEFAULT {
        return set(name, vec!["reset".to_owned()]);
    }
    let mut command = redis::cmd("ACL");
    command.arg("DELUSER").arg(name);
    command
}

fn set(name: &str, rules: Vec<String>) -> Cmd {
    let mut command = redis::cmd("ACL");
    command.arg("SETUSER").arg(name).arg(rules);
    command
}

fn get(name: &str) -> Cmd {
    let mut command = redis::cmd("ACL");
    command.arg("GETUSER").arg(name);
    command
}

fn drop_into(pipeline: &mut Pipeline, command: Cmd) {
    pipeline.add_command(command);
}

/// Not Berth's own, and not the one that every server has, where nobody is to log in by it.
fn is_listed(name: &str, entry: &Entry) -> bool {
    let unused = name == DEFAULT && entry.passwords.is_empty() && entry.flags.contains("off");
    name != BERTH && name != PROBE && !unused && !name.contains(|c: char| c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_may_break_out() {
        for (standing, is_sharded) in Standing::KNOWN
            .into_iter()
            .flat_map(|standing| [(standing, false), (standing, true)])
        {
            let rules = standing.rules(is_sharded);
            assert_eq!(
                rules.iter().any(|rule| rule.contains("cluster")),
                is_sharded
            );
            let at = |rule: &str| rules.iter().rposition(|r| r == rule).unwrap();
            assert_eq!(rules[3], "-@all");
            // Of no category that is taken from everybody, and the server stands still for it.
            assert!(at("-script|debug") > at("-@dangerous"));
            let given: Vec<_> = rules[at("-@dangerous").max(at("-@admin"))..]
                .iter()
                .filter(|rule| rule.starts_with('+'))
                .collect();
            for dangerous in [
                "@",
                "config|set",
                "config|rewrite",
                "acl|setuser",
                "acl|load",
                "module",
                "debug",
                "shutdown",
                "migrate",
                "replicaof",
                "slaveof",
                "cluster",
                "cluster|meet",
                "cluster|forget",
                "cluster|addslots",
                "cluster|addslotsrange",
                "cluster|delslots",
                "cluster|setslot",
                "cluster|failover",
                "cluster|reset",
                "cluster|replicate",
                "cluster|set-config-epoch",
                "monitor",
                "sync",
                "save",
                "bgrewriteaof",
                "client|pause",
            ] {
                let found = given.iter().any(|rule| {
                    rule.trim_start_matches('+') == dangerous
                        || dangerous == "@" && rule.contains('@')
                });
                assert!(!found, "{standing:?} {dangerous}");
            }
        }
    }

    #[test]
    fn a_password_is_not_said() {
        let rules = password_rules("correct horse");
        assert_eq!(rules[0], "resetpass");
        assert!(
            rules[1].len() == 65 && rules[1].starts_with("#4104d36f"),
            "{rules:?}"
        );
    }
}

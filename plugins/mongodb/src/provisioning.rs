//! How an instance comes to be, and how it fares.

use berth_sdk::engine::{Instance, MemberObservation, Needs, Provisioning, Role};
use berth_sdk::server::{SOON, another_program};
use berth_sdk::types::{Endpoint, FieldProblem, Spec, Workload};
use berth_sdk::{Error, Result};
use bson::{Document, doc};

use crate::catalog::{MINIMUM_MEMORY, MINIMUM_STORAGE};
use crate::names::USERS_DATABASE;
use crate::plan::{MEMBER, PORT, REPLICA_SET, USER_SECRET};
use crate::session::{Refusal, Session, code, failure};
use crate::wire::{Failure, number};
use crate::{MongoDb, catalog, databases, names, plan, roles, settings, users};

impl Provisioning for MongoDb {
    fn validate(spec: Spec) -> Result<()> {
        Error::unless_empty(problems(&spec))
    }

    fn plan(spec: Spec) -> Result<Workload> {
        Error::unless_empty(problems(&spec))?;
        Ok(plan::workload(&spec))
    }

    /// The set of one, Berth's own user, the first user and the first database. Nobody is let in before but by the key of
    /// the set's members.
    fn bootstrap(instance: Instance) -> Result<()> {
        let mut session = Session::member(&instance)?;
        check_program(&mut session, &instance.spec.version)?;
        lead(&mut session, &instance)?;
        users::ensure_superuser(&mut session, &instance)?;
        databases::prepare(&mut session)?;
        let (user, admins) = (names::user(&instance.spec), roles::of_admins());
        users::ensure(&mut session, &instance, &user, USER_SECRET, &admins)?;
        databases::note(&mut session, &names::database(&instance.spec)).map(drop)
    }

    fn observe(instance: Instance) -> Result<Vec<MemberObservation>> {
        let session = match Session::try_superuser(&instance) {
            Ok(session) => Ok(session),
            // Nobody has made him yet, or somebody changed him. Whoever only looks mends nothing.
            Err(Refusal::Password) => Session::member(&instance),
            Err(Refusal::Other(error)) => Err(error),
        };
        match session.and_then(|mut session| look(&mut session)) {
            Ok(seen) => Ok(vec![seen]),
            // It starts, stops or hangs: a fact about the member, not a failure of looking at it.
            Err(Error::RetryAfter(_)) => Ok(vec![MemberObservation::silent(MEMBER)]),
            Err(error) => Err(error),
        }
    }
}

/// That the server is of the version that was planned.
fn check_program(session: &mut Session, label: &str) -> Result<()> {
    let answer = session.ask("asking for the version", doc! {"buildInfo": 1})?;
    let said = answer.get_str("version").unwrap_or_default();
    let further = said.strip_prefix(label);
    if further.is_some_and(|rest| rest.starts_with('.')) {
        return Ok(());
    }
    Err(another_program(said, &format!("MongoDB {label}")))
}

/// See that the server is the set's primary: found the set, or tell it where its member is now.
fn lead(session: &mut Session, instance: &Instance) -> Result<()> {
    let hello = session.ask("looking at the server", doc! {"hello": 1})?;
    if hello.get_bool("isWritablePrimary").unwrap_or_default() {
        return Ok(());
    }
    let mut members = doc! {"_id": 0, "host": address(instance)?};
    let get = doc! {"replSetGetConfig": 1};
    match session.try_ask(USERS_DATABASE, get) {
        Ok(answer) => {
            let odd = || Error::failed("the server shows its set otherwise than it is understood");
            let mut config = answer.get_document("config").map_err(|_| odd())?.clone();
            let now = config.get_array("members").map_err(|_| odd())?;
            let now = now.first().and_then(|member| member.as_document());
            if now.and_then(|member| member.get_str("host").ok()) != members.get_str("host").ok() {
                members.insert("votes", 1);
                members.insert("priority", 1);
                config.insert("members", vec![members]);
                let again = doc! {"replSetReconfig": config, "force": true};
                session.ask("telling the server where it is", again)?;
            }
        }
        Err(Failure::Server(code::NOT_YET_INITIALIZED, _)) => {
            let config = doc! {"_id": REPLICA_SET, "members": [members]};
            match session.try_ask(USERS_DATABASE, doc! {"replSetInitiate": config}) {
                Ok(_) | Err(Failure::Server(code::ALREADY_INITIALIZED, _)) => {}
                Err(error) => return Err(failure("founding the replica set", &error)),
            }
        }
        Err(error) => return Err(failure("looking at the replica set", &error)),
    }
    Err(Error::retry(
        SOON,
        "the server is not the primary of its set yet",
    ))
}

/// Where the server listens: there it finds itself without a network, and nobody else looks.
fn address(instance: &Instance) -> Result<String> {
    let ours = |endpoint: &&Endpoint| endpoint.member == MEMBER && endpoint.port_name == PORT;
    let endpoint = instance.endpoints.iter().find(ours);
    let endpoint = endpoint.ok_or_else(|| Error::failed("the server has no endpoint"))?;
    Ok(match (endpoint.inner_port, &*endpoint.bind_address) {
        (Some(port), _) => format!("127.0.0.1:{port}"),
        (None, "0.0.0.0" | "::") => format!("127.0.0.1:{}", endpoint.port),
        (None, host) if host.contains(':') => format!("[{host}]:{}", endpoint.port),
        (None, host) => format!("{host}:{}", endpoint.port),
    })
}

fn look(session: &mut Session) -> Result<MemberObservation> {
    let doing = "looking at the server";
    let hello = session.ask(doing, doc! {"hello": 1})?;
    let status = session.ask(doing, doc! {"serverStatus": 1})?;
    let sizes = session.ask(doing, doc! {"listDatabases": 1})?;
    member(&hello, &status, &sizes)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Counts and sizes are neither.
fn member(hello: &Document, status: &Document, sizes: &Document) -> Result<MemberObservation> {
    let odd = || Error::failed("the server tells of itself otherwise than it is understood");
    let primary = hello.get_bool("isWritablePrimary").unwrap_or_default();
    let connections = status.get_document("connections").map_err(|_| odd())?;
    let connections = connections
        .get("current")
        .and_then(number)
        .ok_or_else(odd)?;
    let bytes = sizes.get("totalSize").and_then(number).ok_or_else(odd)?;
    Ok(MemberObservation {
        member: MEMBER.into(),
        role: if primary {
            Role::Primary
        } else {
            Role::Replica
        },
        ready: primary,
        data_bytes: bytes as u64,
        // The one that asks does not count.
        connections: (connections as u32).saturating_sub(1),
        version: status.get_str("version").map_err(|_| odd())?.to_owned(),
    })
}

/// Everything that is wrong with a spec.
fn problems(spec: &Spec) -> Vec<FieldProblem> {
    let needs = Needs {
        product: "MongoDB",
        versions: &catalog::labels(),
        memory_bytes: MINIMUM_MEMORY,
        storage_bytes: MINIMUM_STORAGE,
        can_shard: false,
    };
    let mut found = needs.problems(spec);
    found.extend(settings::problems(spec));
    found.extend(names::check_user(&names::user(spec)).err());
    found.extend(names::check_database(&names::database(spec)).err());
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::spec;

    fn fields(spec: &Spec) -> Vec<String> {
        problems(spec).into_iter().map(|p| p.field).collect()
    }

    #[test]
    fn what_is_right_is_let_through() {
        for version in ["6.0", "7.0", "8.0"] {
            assert_eq!(fields(&spec(version)), [""; 0]);
        }
        let mut named = spec("7.0");
        named.slug = "admin".into();
        named.user = Some("owner".into());
        assert_eq!(fields(&named), [""; 0]);
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let mut spec = spec("5.0");
        spec.members = 3;
        spec.shards = 3;
        spec.node.memory_bytes = 1;
        spec.storage_bytes = 1;
        spec.user = Some("__system".into());
        spec.database = Some("admin".into());
        let all = [
            "version",
            "members",
            "shards",
            "node.memory-bytes",
            "storage-bytes",
            "user",
            "database",
        ];
        assert_eq!(fields(&spec), all);
        assert!(matches!(MongoDb::plan(spec), Err(Error::Invalid(all)) if all.len() == 7));
    }

    #[test]
    fn the_member_is_where_the_server_listens() {
        let at = |bind: &str, inner| {
            let endpoint = Endpoint {
                name: PORT.into(),
                member: MEMBER.into(),
                port_name: PORT.into(),
                bind_address: bind.into(),
                host: "db.example.org".into(),
                port: 20_001,
                inner_port: inner,
                for_members: false,
            };
            let instance = Instance {
                spec: spec("7.0"),
                members: Vec::new(),
                endpoints: vec![endpoint],
                secrets: Vec::new(),
            };
            address(&instance).unwrap()
        };
        assert_eq!(at("10.1.2.3", Some(20_002)), "127.0.0.1:20002");
        assert_eq!(at("10.1.2.3", None), "10.1.2.3:20001");
        assert_eq!(at("0.0.0.0", None), "127.0.0.1:20001");
        assert_eq!(at("fd00::1", None), "[fd00::1]:20001");
    }

    #[test]
    fn one_that_follows_nobody_is_not_ready() {
        let seen = |primary: bool| {
            let hello = doc! {"isWritablePrimary": primary};
            let status = doc! {"connections": {"current": 3}, "version": "7.0.14"};
            member(&hello, &status, &doc! {"totalSize": 4096.0}).unwrap()
        };
        assert!(seen(true).ready && !seen(false).ready);
        assert_eq!((seen(true).connections, seen(true).data_bytes), (2, 4096));
        assert!(member(&doc! {}, &doc! {}, &doc! {}).is_err());
    }
}

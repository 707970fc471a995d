//! Having a running server take its settings and its certificate anew. It reads its file when it starts and not again:
//! what can be changed while it runs is said to it, all of it or nothing.

use std::collections::{BTreeMap, BTreeSet};

use berth_sdk::engine::Instance;
use berth_sdk::engine::settings::Settings;
use berth_sdk::types::Spec;
use berth_sdk::{Error, Result};
use redis::RedisError;

use crate::session::{Session, failure};
use crate::shards::Shards;
use crate::{Redis, catalog, settings, sizing};

/// Where the server finds its certificate. Said again, it reads the files again. The last is where shards find who vouches
/// for the others.
const CERTIFICATE: [&str; 3] = ["tls-cert-file", "tls-key-file", "tls-ca-cert-file"];

impl Settings for Redis {
    fn reload(instance: Instance) -> Result<Vec<String>> {
        catalog::release_of(&instance)?;
        let mut waiting = BTreeSet::new();
        // Of one version all: what one does not take, the first does not take.
        for session in Shards::berth(&instance)?.each() {
            waiting.extend(take_anew(session, &instance.spec)?);
        }
        Ok(waiting.into_iter().collect())
    }
}

/// Have one server take it all. Answers what waits for a restart.
fn take_anew(session: &mut Session, spec: &Spec) -> Result<Vec<String>> {
    let has: BTreeMap<String, String> = session.ask(
        "reading the settings",
        redis::cmd("CONFIG").arg("GET").arg("*"),
    )?;
    let has = |name: &str| has.get(name).map(String::as_str);
    let mut change = redis::cmd("CONFIG");
    change.arg("SET");
    let of_shards = usize::from(session.is_sharded);
    for name in &CERTIFICATE[..2 + of_shards] {
        let path = has(name).filter(|path| !path.is_empty());
        let path = path.ok_or_else(|| Error::failed("the server has no certificate"))?;
        change.arg(*name).arg(path);
    }
    for (name, bytes) in [
        ("maxmemory", sizing::max_memory(spec)),
        ("maxmemory-clients", sizing::max_clients_memory(spec)),
    ] {
        change.arg(name).arg(bytes);
    }
    let mut waiting = Vec::new();
    for wanted in settings::wanted(spec) {
        if has(wanted.name) == Some(&wanted.value) {
            continue;
        }
        if wanted.live {
            change.arg(wanted.name).arg(&wanted.value);
        } else {
            waiting.push(wanted.name.to_owned());
        }
    }
    session
        .try_ask::<()>(&change)
        .map_err(|error| refusal(&error))?;
    Ok(waiting)
}

/// The server names the first that it does not take, and takes none.
fn refusal(error: &RedisError) -> Error {
    let said = error.to_string();
    let mut parts = said.split('\'');
    match (said.contains("CONFIG SET"), parts.nth(1)) {
        (true, Some(name)) if !CERTIFICATE.contains(&name) => Error::invalid_field(
            name,
            "is not accepted by the server",
            "a value that this version of Redis takes",
        ),
        (true | false, _) => failure("changing the settings", error),
    }
}

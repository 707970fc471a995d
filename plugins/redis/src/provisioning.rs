//! How an instance comes to be, and how it fares.

use std::collections::BTreeMap;
use std::time::Duration;

use berth_sdk::engine::{Instance, MemberObservation, Needs, Provisioning, Role};
use berth_sdk::server::another_program;
use berth_sdk::types::{FieldProblem, Spec, Workload};
use berth_sdk::{Error, Result};

use crate::acl::{self, Standing};
use crate::catalog::{MINIMUM_MEMORY, MINIMUM_STORAGE, Release};
use crate::plan::USER_SECRET;
use crate::session::Session;
use crate::shards::Shards;
use crate::{Redis, catalog, cluster, names, plan, settings};

/// How soon to look again at a server that reads its data.
const SOON: Duration = Duration::from_millis(100);

impl Provisioning for Redis {
    fn validate(spec: Spec) -> Result<()> {
        Error::unless_empty(problems(&spec))
    }

    fn plan(spec: Spec) -> Result<Workload> {
        Error::unless_empty(problems(&spec))?;
        Ok(plan::workload(&spec))
    }

    /// The first user, and nobody else without a name. Everything else came with the first file of users. Shards become one
    /// before that: once there is somebody to come in, all of it is there.
    fn bootstrap(instance: Instance) -> Result<()> {
        let password = instance
            .secret(USER_SECRET)
            .ok_or_else(|| Error::failed("the password of the first user is not known"))?;
        let release = catalog::release_of(&instance)?;
        let mut shards = Shards::berth(&instance)?;
        for session in shards.each() {
            let info = Info::read(session)?;
            info.check_program(release)?;
            if info.is_loading() {
                return Err(Error::retry(SOON, "the server is loading its data"));
            }
        }
        if plan::is_sharded(&instance.spec) {
            cluster::form(&instance, &mut shards)?;
        }
        let user = names::user(&instance.spec);
        let mut rules = vec!["on".to_owned()];
        rules.extend(acl::password_rules(password));
        rules.extend(shards.rules(Standing::Admin));
        shards.change(&user, &rules)
    }

    fn observe(instance: Instance) -> Result<Vec<MemberObservation>> {
        let members = plan::members(&instance.spec).into_iter();
        let seen = members.map(|member| match look(&instance, &member) {
            // It starts, stops, loads or hangs: a fact about the member, not a failure of looking at it.
            Err(Error::RetryAfter(_)) => Ok(MemberObservation::silent(member)),
            looked => looked,
        });
        seen.collect()
    }
}

fn look(instance: &Instance, member: &str) -> Result<MemberObservation> {
    let mut session = Session::berth(instance, member)?;
    let mut seen = Info::read(&mut session)?.member(member)?;
    if seen.ready && session.is_sharded {
        seen.ready = cluster::is_whole(&mut session, instance.spec.shards)?;
    }
    Ok(seen)
}

/// What a server says of itself.
pub struct Info(BTreeMap<String, String>);

impl Info {
    pub fn read(session: &mut Session) -> Result<Self> {
        let text: String = session.ask("looking at the server", &redis::cmd("INFO"))?;
        let fields = text.lines().filter_map(|line| line.split_once(':'));
        let owned = fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
        Ok(Self(owned.collect()))
    }

    pub fn is_loading(&self) -> bool {
        self.field("loading") != "0"
    }

    /// The server takes what it reckons as its own from what it uses. Where that is more, as in one that is all but empty,
    /// the number wraps around.
    pub fn data_bytes(&self) -> Result<u64> {
        let bytes = self.number("used_memory_dataset")?;
        Ok(i64::try_from(bytes).map_or(0, |_| bytes))
    }

    fn member(&self, name: &str) -> Result<MemberObservation> {
        let role = match self.field("role") {
            "master" => Role::Primary,
            _ => Role::Replica,
        };
        // One that is loading does not count what it has.
        let loading = self.is_loading();
        Ok(MemberObservation {
            member: name.into(),
            role,
            ready: !loading,
            data_bytes: self.data_bytes()?,
            // The one that asks does not count.
            connections: u32::try_from(self.number("connected_clients")?.saturating_sub(1))
                .unwrap_or(u32::MAX),
            version: self.product().1.to_owned(),
        })
    }

    /// What it is called, and its version.
    fn product(&self) -> (&str, &str) {
        match self.field("valkey_version") {
            "" => ("Redis", self.field("redis_version")),
            version => ("Valkey", version),
        }
    }

    /// That it is of this release.
    fn check_program(&self, release: &Release) -> Result<()> {
        let (product, version) = self.product();
        let (wanted, number) = match release.label.strip_prefix("valkey-") {
            Some(number) => ("Valkey", number),
            None => ("Redis", release.label),
        };
        let further = version.strip_prefix(number);
        if product == wanted && further.is_some_and(|rest| rest.starts_with('.')) {
            return Ok(());
        }
        let said = format!("{product} {version}");
        Err(another_program(&said, &format!("{wanted} {number}")))
    }

    fn field(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    fn number(&self, name: &str) -> Result<u64> {
        let odd = || Error::failed(format!("the server's {name} is not a number"));
        self.field(name).parse().map_err(|_| odd())
    }
}

/// Everything that is wrong with a spec.
fn problems(spec: &Spec) -> Vec<FieldProblem> {
    let needs = Needs {
        product: "Redis",
        versions: &catalog::labels(),
        memory_bytes: MINIMUM_MEMORY,
        storage_bytes: MINIMUM_STORAGE,
        can_shard: true,
    };
    let mut found = needs.problems(spec);
    if spec.database.is_some() {
        found.push(FieldProblem::new(
            "database",
            "Redis has no logical databases to be named",
            "none",
        ));
    }
    found.extend(settings::problems(spec));
    found.extend(names::check_user(&names::user(spec)).err());
    found
}

#[cfg(test)]
mod tests {
    use berth_sdk_testing as testing;

    use super::*;
    use crate::names::DEFAULT;
    use crate::plan::tests::spec;

    fn fields(spec: &Spec) -> Vec<String> {
        problems(spec).into_iter().map(|p| p.field).collect()
    }

    #[test]
    fn what_is_right_is_let_through() {
        for version in ["7.0", "7.2", "valkey-8"] {
            assert_eq!(fields(&spec(version)), [""; 0]);
        }
        let mut named = spec("7.2");
        named.user = Some(DEFAULT.into());
        assert_eq!(fields(&named), [""; 0]);
    }

    #[test]
    fn shards_have_one_keyspace_each() {
        let mut spec = spec("7.2");
        spec.shards = 3;
        assert_eq!(fields(&spec), [""; 0]);
        spec.init_settings = testing::chosen(&[("databases", "4")]);
        assert_eq!(fields(&spec), ["databases"]);
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let mut spec = spec("6.2");
        spec.members = 3;
        spec.node.memory_bytes = 1;
        spec.storage_bytes = 1;
        spec.user = Some("berth".into());
        spec.database = Some("shop".into());
        let all = [
            "version",
            "members",
            "node.memory-bytes",
            "storage-bytes",
            "database",
            "user",
        ];
        assert_eq!(fields(&spec), all);
        assert!(matches!(Redis::plan(spec), Err(Error::Invalid(all)) if all.len() == 6));
    }

    fn info(text: &str) -> Info {
        let fields = text.lines().filter_map(|line| line.split_once(':'));
        Info(fields.map(|(n, v)| (n.into(), v.into())).collect())
    }

    #[test]
    fn a_program_of_another_version_is_refused() {
        let fits = |said: &str, label: &str| {
            let release = catalog::release(label).unwrap();
            info(said).check_program(release).is_ok()
        };
        let redis = "redis_version:7.2.5";
        let valkey = "redis_version:7.2.4\nvalkey_version:8.1.0";
        assert!(fits(redis, "7.2") && fits(valkey, "valkey-8"));
        for (said, label) in [
            (redis, "7.0"),
            (redis, "valkey-8"),
            (valkey, "7.2"),
            ("redis_version:7.20.1", "7.2"),
            ("", "7.2"),
        ] {
            assert!(!fits(said, label), "{said} {label}");
        }
    }

    #[test]
    fn the_product_says_its_own_version() {
        let base = "role:master\nloading:0\nused_memory_dataset:7\nconnected_clients:3\nredis_version:7.2.4";
        let seen = info(base).member("node-0").unwrap();
        assert_eq!(
            (seen.version.as_str(), seen.connections, seen.ready),
            ("7.2.4", 2, true)
        );
        let seen = info(&format!("{base}\nvalkey_version:8.0.1"))
            .member("node-0")
            .unwrap();
        assert_eq!(seen.version, "8.0.1");
        assert!(info("role:master").member("node-0").is_err());
        let empty = base.replace("dataset:7", "dataset:18446744073709520456");
        assert_eq!(info(&empty).member("node-0").unwrap().data_bytes, 0);
    }
}

//! What a component's answers must satisfy, plans apart: see `check` for those. An answer that names what
//! is not there, or is out of all proportion, is the component's failure and never the host's.

use std::collections::BTreeSet;

use crate::model::plugin::{Connection, EngineDescription, Login, Observation, TargetDescription};
use crate::model::workload::{MemberStatus, VolumeUsage, Workload};
use crate::model::{Error, Result};

use super::capability::log::one_line;
use super::check::is_name;
use super::manifest::Manifest;
use super::programs::is_version;
use super::setting_schemas;

const VERSIONS: usize = 64;
const NAME_BYTES: usize = 128;
const URI_BYTES: usize = 4 << 10;
/// More than any volume or database holds, and little enough to be added up.
pub(super) const MOST_BYTES: u64 = 1 << 54;

/// A `describe` that came too late says nothing of the build: the machine may have been slow.
pub(super) fn in_time(error: Error, late: bool) -> Error {
    if late {
        Error::unavailable(error.public())
    } else {
        error
    }
}

/// What a plugin says it is, asked twice in sandboxes of their own: the host goes by it for as long as the build lives.
pub(super) fn unchanging<T: PartialEq>(first: T, second: T, manifest: &Manifest) -> Result<T> {
    if first == second {
        return Ok(first);
    }
    let problem = "it changes from one call to the next";
    Err(refused(manifest, "description", problem))
}

pub(super) fn engine_description(
    mut described: EngineDescription,
    manifest: &Manifest,
) -> Result<EngineDescription> {
    let wrong = |problem: &str| Err(refused(manifest, "description", problem));
    if described.name != *manifest.name
        || !described.name.chars().all(|c| c.is_ascii_alphanumeric())
    {
        return wrong("its name is not the manifest's, in letters and digits");
    }
    described.title = one_line(&described.title, NAME_BYTES);
    described.summary = one_line(&described.summary, 512);
    if described.title.is_empty() {
        return wrong("it has no title");
    }
    if !(1..=VERSIONS).contains(&described.versions.len()) {
        return wrong("it has no versions, or too many");
    }
    if described.default_port == 0 {
        return wrong("its default port is 0");
    }
    let mut labels = BTreeSet::new();
    for version in &mut described.versions {
        setting_schemas::sound(version)
            .map_err(|problem| refused(manifest, "description", &problem))?;
        if !is_version(&version.label) || !labels.insert(version.label.clone()) {
            return wrong("a version's label is not one, or stands there twice");
        }
        let is_date = |text: &str| text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok();
        if !is_date(&version.released) || !is_date(&version.end_of_life) {
            return wrong("a version's dates are not YYYY-MM-DD");
        }
        if version.upgrades_to.len() > VERSIONS
            || !version.upgrades_to.iter().all(|v| is_version(v))
        {
            return wrong("a version can be upgraded to what is not a version");
        }
        let listed = |program: &String| manifest.programs().any(|name| name == program);
        if !version.programs.iter().all(listed) {
            return wrong("a version needs programs that the manifest does not list");
        }
    }
    Ok(described)
}

pub(super) fn target_description(
    mut described: TargetDescription,
    manifest: &Manifest,
) -> Result<TargetDescription> {
    if described.name != *manifest.name {
        let problem = "its name is not the manifest's";
        return Err(refused(manifest, "description", problem));
    }
    described.title = one_line(&described.title, NAME_BYTES);
    Ok(described)
}

pub(super) fn login(login: Login, manifest: &Manifest) -> Result<Login> {
    let plain = |name: &Option<String>| name.as_ref().is_none_or(|n| is_plain(n, NAME_BYTES));
    if !plain(&login.user) || !plain(&login.database) || !is_name(&login.secret, 32) {
        return Err(refused(
            manifest,
            "first login",
            "it holds impossible names",
        ));
    }
    Ok(login)
}

pub(super) fn connection(connection: Connection, manifest: &Manifest) -> Result<Connection> {
    let plain = |text: &Option<String>| text.as_ref().is_none_or(|t| is_plain(t, NAME_BYTES));
    let sound = connection.port != 0
        && is_plain(&connection.host, 255)
        && plain(&connection.username)
        && plain(&connection.database)
        && plain(&connection.tls_mode)
        && is_plain(connection.uri.expose(), URI_BYTES)
        && connection.password.expose().len() <= URI_BYTES;
    if !sound {
        return Err(refused(
            manifest,
            "connection",
            "it holds impossible values",
        ));
    }
    Ok(connection)
}

/// Observations of members that are there, each once.
pub(super) fn observations<'a>(
    seen: Vec<Observation>,
    members: impl Iterator<Item = &'a str>,
    manifest: &Manifest,
) -> Result<Vec<Observation>> {
    let mut left: BTreeSet<&str> = members.collect();
    if seen.iter().any(|o| o.data_bytes > MOST_BYTES) {
        return Err(refused(
            manifest,
            "observation",
            "it holds impossible sizes",
        ));
    }
    if seen.iter().all(|o| left.remove(&*o.member)) {
        return Ok(seen);
    }
    let problem = "it names a member that is not there, or one twice";
    Err(refused(manifest, "observation", problem))
}

/// States of members that are there, each once, with dials of ports that are there.
pub(super) fn statuses(
    statuses: Vec<MemberStatus>,
    workload: &Workload,
    manifest: &Manifest,
) -> Result<Vec<MemberStatus>> {
    let mut left: BTreeSet<&str> = workload.members.iter().map(|m| &*m.name).collect();
    for status in &statuses {
        let member = workload.members.iter().find(|m| m.name == status.member);
        let has_port = |name: &str| {
            member.is_some_and(|member| member.ports.iter().any(|port| port.name == name))
        };
        let mut dialled = BTreeSet::new();
        let sound = left.remove(&*status.member)
            && status
                .dials
                .iter()
                .all(|(port, _)| has_port(port) && dialled.insert(port));
        if !sound {
            let problem = "it names a member or port that is not there, or one twice";
            return Err(refused(manifest, "observation", problem));
        }
    }
    Ok(statuses)
}

/// Usage of volumes that are there, each once.
pub(super) fn usage(
    usage: Vec<VolumeUsage>,
    workload: &Workload,
    manifest: &Manifest,
) -> Result<Vec<VolumeUsage>> {
    let mut left: BTreeSet<(&str, &str)> = workload
        .members
        .iter()
        .flat_map(|m| m.volumes.iter().map(|v| (&*m.name, &*v.name)))
        .collect();
    if usage
        .iter()
        .any(|u| u.used_bytes.max(u.size_bytes) > MOST_BYTES)
    {
        return Err(refused(manifest, "usage", "it holds impossible sizes"));
    }
    if usage.iter().all(|u| left.remove(&(&*u.member, &*u.volume))) {
        return Ok(usage);
    }
    let problem = "it names a volume that is not there, or one twice";
    Err(refused(manifest, "usage", problem))
}

/// A log's end: at most so many bytes, cut at a line, with nothing that steers a terminal.
pub(super) fn log_tail(text: &str, most: u32) -> String {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let mut start = text.len().saturating_sub(most);
    if start > 0 {
        start = text.ceil_char_boundary(start);
        start += text[start..].find('\n').map_or(0, |end| end + 1);
    }
    text[start..]
        .chars()
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        .collect()
}

/// One line of text.
pub(super) fn is_plain(text: &str, most: usize) -> bool {
    text.len() <= most && !text.contains(|c: char| c.is_control())
}

fn refused(manifest: &Manifest, what: &str, problem: &str) -> Error {
    Error::failed(format!(
        "the {what} of the plugin `{}` was refused: {problem}",
        manifest.name
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_cut_at_a_line() {
        assert_eq!(log_tail("one\ntwo\nthree\n", 7), "three\n");
        assert_eq!(log_tail("one\n", 100), "one\n");
        assert_eq!(log_tail("a\u{1b}[2J\tb\n", 100), "a[2J\tb\n");
        assert_eq!(log_tail("ääää", 3), "ä");
    }
}

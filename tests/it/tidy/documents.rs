//! Documents that must agree with the tree: dependencies with their page, links with their goals, the map
//! with the modules.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use toml::{Table, Value};

use super::source::{Source, collect, relative, root};

const TABLES: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

/// Every outside dependency of the members of these workspaces.
pub fn dependencies(workspaces: &[&str]) -> BTreeSet<String> {
    workspaces
        .iter()
        .flat_map(|path| {
            let manifest = manifest(path);
            let shared = shared(&manifest);
            members(path, &manifest)
                .into_iter()
                .flat_map(move |member| outside(&member, &shared))
        })
        .collect()
}

/// Shared dependencies that no member takes.
pub fn unused(workspaces: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for path in workspaces {
        let manifest = manifest(path);
        let shared = shared(&manifest);
        let members = members(path, &manifest);
        let used: BTreeSet<String> = members.iter().flat_map(all).map(|(n, _)| n).collect();
        for name in shared.keys().filter(|name| !used.contains(*name)) {
            found.push(format!("{path} shares {name}, which no member uses"));
        }
    }
    found
}

/// The names that the page explains: lines like "- `name`: why".
pub fn explained(page: &Source) -> BTreeSet<String> {
    page.text
        .lines()
        .filter_map(|line| line.strip_prefix("- `")?.split_once("`: "))
        .filter(|(_, why)| why.trim().len() > 10)
        .map(|(name, _)| name.to_owned())
        .collect()
}

pub fn difference(used: &BTreeSet<String>, explained: &BTreeSet<String>) -> Vec<String> {
    let missing = used
        .difference(explained)
        .map(|name| format!("docs/dependencies.md does not say why {name} is there"));
    let stale = explained
        .difference(used)
        .map(|name| format!("docs/dependencies.md explains {name}, which nothing uses"));
    missing.chain(stale).collect()
}

/// Every page of the repository.
pub fn pages() -> Vec<Source> {
    let mut paths: Vec<PathBuf> = ["README.md", "ARCHITECTURE.md"]
        .map(|p| root().join(p))
        .into();
    collect(&root().join("docs"), "md", &mut paths);
    paths
        .iter()
        .map(|path| Source::read(&relative(path)))
        .collect()
}

/// Links of a page to files of the repository, or to headings, that are not there.
pub fn broken_links(page: &Source, read: impl Fn(&Path) -> Option<String>) -> Vec<String> {
    let folder = Path::new(&page.path).parent().unwrap_or(Path::new(""));
    let mut broken = Vec::new();
    for link in links(&page.text) {
        if link.contains("://") || link.starts_with("mailto:") {
            continue;
        }
        let (path, heading) = link.split_once('#').unwrap_or((link, ""));
        let goal = if path.is_empty() {
            PathBuf::from(&page.path)
        } else {
            flatten(&folder.join(path))
        };
        let is_folder = root().join(&goal).is_dir();
        let text = if is_folder {
            Some(String::new())
        } else {
            read(&goal)
        };
        let found = text.is_some_and(|text| heading.is_empty() || has_heading(&text, heading));
        if !found {
            broken.push(format!("{} links to {link}, which is not there", page.path));
        }
    }
    broken
}

/// The paths in the first column of the page's tables: rows like "| `path` | what |".
pub fn map(page: &Source) -> Vec<String> {
    page.text
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"))
        .map(|(path, _)| path.to_owned())
        .collect()
}

fn manifest(path: &str) -> Table {
    Source::read(path)
        .text
        .parse()
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What the workspace shares, each with whether it is our own.
fn shared(manifest: &Table) -> BTreeMap<String, bool> {
    let table = manifest
        .get("workspace")
        .and_then(|workspace| workspace.get("dependencies"))
        .and_then(Value::as_table);
    table
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.clone(), value.get("path").is_some()))
        .collect()
}

/// The manifests of the members, or the one itself when it has none.
fn members(path: &str, manifest: &Table) -> Vec<Table> {
    let folder = Path::new(path).parent().unwrap_or(Path::new(""));
    let listed = manifest
        .get("workspace")
        .and_then(|workspace| workspace.get("members"))
        .and_then(Value::as_array);
    let mut members: Vec<Table> = listed
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(|member| folder.join(member).join("Cargo.toml"))
        .map(|path| self::manifest(&path.to_string_lossy()))
        .collect();
    if manifest.contains_key("package") {
        members.push(manifest.clone());
    }
    members
}

/// Every dependency of a member, also those of some platforms only.
fn all(member: &Table) -> Vec<(String, Value)> {
    let platforms = member.get("target").and_then(Value::as_table);
    let per_platform = platforms
        .into_iter()
        .flatten()
        .filter_map(|(_, value)| value.as_table());
    std::iter::once(member)
        .chain(per_platform)
        .flat_map(|table| TABLES.map(|name| table.get(name).and_then(Value::as_table)))
        .flatten()
        .flatten()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn outside(member: &Table, shared: &BTreeMap<String, bool>) -> Vec<String> {
    all(member)
        .into_iter()
        .filter(|(name, value)| {
            let own = value.get("path").is_some() || shared.get(name).copied().unwrap_or(false);
            !own
        })
        .map(|(name, _)| name)
        .collect()
}

/// The goals of `[text](goal)`, outside code.
fn links(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut in_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        let mut rest = line;
        while let Some(at) = rest.find("](") {
            rest = &rest[at + 2..];
            if let Some(end) = rest.find(')') {
                found.push(&rest[..end]);
                rest = &rest[end..];
            }
        }
    }
    found
}

/// `a/../b` is `b`.
fn flatten(path: &Path) -> PathBuf {
    let mut flat = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                flat.pop();
            }
            Component::CurDir => {}
            Component::Normal(_) | Component::RootDir | Component::Prefix(_) => flat.push(part),
        }
    }
    flat
}

/// Whether a page has the heading that this anchor means.
fn has_heading(text: &str, anchor: &str) -> bool {
    text.lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches('#').trim().to_lowercase())
        .any(|heading| {
            let slug: String = heading
                .chars()
                .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect();
            slug == anchor
        })
}

#[test]
fn a_broken_link_is_found() {
    let text = "# Top\n[a](x.md) [b](../y.md#two-words) [c](#top)\n```\n[d](code.md)\n```\n[e](https://f/g)";
    let page = Source::sample("docs/a/p.md", text);
    let read = |path: &Path| match path.to_str() {
        Some("docs/a/x.md") => Some(String::new()),
        Some("docs/y.md") => Some("## Two words".to_owned()),
        Some("docs/a/p.md") => Some(text.to_owned()),
        _ => None,
    };
    assert_eq!(broken_links(&page, read), Vec::<String>::new());
    let none = |_: &Path| None;
    assert_eq!(broken_links(&page, none).len(), 3);
    let without_headings = |_: &Path| Some(String::new());
    assert_eq!(broken_links(&page, without_headings).len(), 2);
}

#[test]
fn a_dependency_without_a_reason_is_found() {
    let used = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
    let page = Source::sample(
        "d.md",
        "- `a`: it does what we need\n- `b`: x\n- `c`: it was needed once",
    );
    assert_eq!(difference(&used, &explained(&page)).len(), 2);
    let member: Table = "[dependencies]\nd = \"1\"\nown.workspace = true\n[target.x.dev-dependencies]\ne = { version = \"1\" }\nf = { path = \"f\" }"
        .parse()
        .unwrap();
    let shared = BTreeMap::from([("own".to_owned(), true)]);
    assert_eq!(outside(&member, &shared), ["d", "e"]);
}

#[test]
fn the_map_is_read() {
    let page = Source::sample(
        "a.md",
        "| Path | What |\n|---|---|\n| `host/src/api/` | x |\ntext",
    );
    assert_eq!(map(&page), ["host/src/api/"]);
}

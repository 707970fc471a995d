//! What an idle database costs beside its server: the memory of its proxy and of the shims of both. Its record is in the
//! figure "listing".

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::create::wanted;
use crate::host::{Host, directory};
use crate::table::Table;

const DATABASES: usize = 4;
const MOST: u64 = 2 << 20;
const MOST_OF_A_PROXY: u64 = 6 << 20;

/// Memory of one process in bytes.
#[derive(Clone, Copy, Default)]
struct Memory {
    resident: u64,
    /// With what is shared divided by those who share it.
    share: u64,
    /// Its own alone: it would be free if the process were not there.
    private: u64,
}

pub async fn run() {
    let folder = directory();
    let (host, _) = Host::start(folder.path()).await;
    let mut ids = Vec::new();
    for number in 0..DATABASES {
        let body = wanted(&format!("idle-{number}"));
        let (status, created) = host.post("/api/v1/databases", &body).await;
        assert_eq!(status, 201, "{created}");
        ids.push(created["id"].as_str().expect("an id").to_owned());
    }
    for id in &ids {
        host.wait_status(id, "running").await;
    }
    let shims = those(folder.path(), |args| args.contains("\0--detached\0"));
    assert_eq!(shims.len(), 2 * DATABASES, "two each: {shims:?}");
    let of_shims: Vec<Memory> = shims.iter().map(|pid| Memory::of(*pid)).collect();
    let proxies = those(folder.path(), |args| {
        let program = args.split('\0').next().unwrap_or_default();
        program.ends_with("/haproxy")
    });
    assert_eq!(proxies.len(), DATABASES, "one each: {proxies:?}");
    let of_proxies: Vec<Memory> = proxies.iter().map(|pid| Memory::of(*pid)).collect();
    let mut peer = smallest_peer();
    let of_peer = Memory::of(peer.id());
    // It does nothing else.
    let _ = peer.kill();
    let _ = peer.wait();

    let head = ["process", "private", "proportional share", "resident"];
    let mut table = Table::new("memory beside an idle database's server", &head);
    let mean = Memory::mean(&of_shims);
    table.row(cells("berth shim (two for each database)", mean));
    table.row(cells("its proxy", Memory::mean(&of_proxies)));
    table.row(cells("peer: a shell that waits for one program", of_peer));
    table.note(format!(
        "mean of {DATABASES} databases on one host; what is resident but not private is the program's file, \
         which all shims and the host have in common"
    ));
    let most = of_shims.iter().map(|memory| memory.private).max();
    table.target(
        most.is_some_and(|most| most <= MOST),
        "at most 2 MiB of its own for each shim",
    );
    let most = of_proxies.iter().map(|memory| memory.private).max();
    table.target(
        most.is_some_and(|most| most <= MOST_OF_A_PROXY),
        "at most 6 MiB of its own for each proxy",
    );
    for id in &ids {
        host.remove(id).await;
    }
    table.print(folder.path());
}

impl Memory {
    fn of(pid: u32) -> Self {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("smaps_rollup");
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
            kib.unwrap_or(0) * 1024
        };
        Self {
            resident: field("Rss:"),
            share: field("Pss:"),
            private: field("Private_Clean:") + field("Private_Dirty:"),
        }
    }

    fn mean(of: &[Self]) -> Self {
        let count = of.len().max(1) as u64;
        let mean = |field: fn(&Self) -> u64| of.iter().map(field).sum::<u64>() / count;
        Self {
            resident: mean(|memory| memory.resident),
            share: mean(|memory| memory.share),
            private: mean(|memory| memory.private),
        }
    }
}

/// Processes of instances below this directory, by their arguments.
fn those(folder: &Path, wanted: impl Fn(&str) -> bool) -> Vec<u32> {
    let numbers = fs::read_dir("/proc").expect("/proc").flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers
        .filter(|pid| {
            let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let args = String::from_utf8_lossy(&bytes).into_owned();
            let works_at = fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
            let below = works_at.starts_with(folder) || args.contains(&*folder.to_string_lossy());
            below && wanted(&args)
        })
        .collect()
}

/// What could keep a server at the least: a shell with one child.
fn smallest_peer() -> Child {
    Command::new("/bin/sh")
        .args(["-c", "sleep 600; :"])
        .stdin(Stdio::null())
        .spawn()
        .expect("a shell")
}

fn cells(name: &str, memory: Memory) -> [String; 4] {
    let kib = |bytes: u64| format!("{} KiB", bytes >> 10);
    [
        name.to_owned(),
        kib(memory.private),
        kib(memory.share),
        kib(memory.resident),
    ]
}

//! What a program that runs as an instance's own user sees of the machine in its own way.
//!
//! An instance's user is a number that the system's list of users does not know, and some programs look their own
//! user up and give up when it has no name. They get a list of their own, in a mount namespace of their
//! own: the system's list is never changed. Shared memory is of the program's own as well, so that none is left on the
//! machine when a server is killed. Where the kernel does not let us (a container without the right to
//! mount), the program is started all the same.

use std::fs;
use std::io;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Uid, User, geteuid};

use super::wire::Home;

const SYSTEM_LIST: &str = "/etc/passwd";
const SHARED_MEMORY: &str = "/dev/shm";
const NONE: Option<&str> = None;

/// Called as root, before its rights are dropped. Answers what to say in the member's log.
pub fn enter(home: &Home, uid: u32) -> Vec<String> {
    if !geteuid().is_root() {
        return Vec::new();
    }
    let say = |what: &str, e: &dyn std::fmt::Display| format!("it has no {what} of its own: {e}");
    if let Err(e) = own_mounts() {
        return vec![say("view of the file system", &e)];
    }
    let list = give_name(home, uid).map_err(|e| say("list of users", &e));
    let memory = own_memory().map_err(|e| say("shared memory", &e));
    list.err().into_iter().chain(memory.err()).collect()
}

fn own_mounts() -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    // What the operator mounts and unmounts later is seen here too; what is mounted here is seen nowhere else.
    let slave = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    mount(NONE, "/", NONE, slave, NONE)
}

fn give_name(home: &Home, uid: u32) -> io::Result<()> {
    if has_name(uid) {
        return Ok(());
    }
    let list = home.users();
    write(&list, &content(uid))?;
    mount(Some(&list), SYSTEM_LIST, NONE, MsFlags::MS_BIND, NONE)?;
    Ok(())
}

/// Both kinds, System V and POSIX, end with the last process that sees them. A server that is killed would leave its
/// own behind for as long as the machine runs.
fn own_memory() -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWIPC)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(
        Some("tmpfs"),
        SHARED_MEMORY,
        Some("tmpfs"),
        flags,
        Some("mode=1777"),
    )
}

fn has_name(uid: u32) -> bool {
    matches!(User::from_uid(Uid::from_raw(uid)), Ok(Some(_)))
}

fn content(uid: u32) -> String {
    format!(
        "root:x:0:0:root:/root:/usr/sbin/nologin\n\
         nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n\
         berth-{uid}:x:{uid}:{uid}:a Berth instance:/nonexistent:/usr/sbin/nologin\n"
    )
}

/// Once it is there it needs no space, so that a full disk keeps no server from being started.
fn write(list: &Path, content: &str) -> io::Result<()> {
    if fs::read(list).is_ok_and(|there| there == content.as_bytes()) {
        return Ok(());
    }
    let new = list.with_extension("new");
    fs::write(&new, content)?;
    // Everybody reads it, under whatever mask this process was started.
    fs::set_permissions(&new, std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    fs::rename(&new, list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_written_once() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join("passwd");
        write(&list, &content(50_001)).unwrap();
        let first = fs::metadata(&list).unwrap();
        assert_eq!(first.mode() & 0o777, 0o644);
        write(&list, &content(50_001)).unwrap();
        assert_eq!(fs::metadata(&list).unwrap().ino(), first.ino());
        write(&list, &content(50_002)).unwrap();
        let text = fs::read_to_string(&list).unwrap();
        assert!(text.contains("\nberth-50002:x:50002:50002:"), "{text}");
    }

    #[test]
    fn who_has_a_name_keeps_it() {
        assert!(has_name(0));
        assert!(!has_name(4_000_000_000));
    }
}

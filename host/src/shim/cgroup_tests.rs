//! Hierarchies of machines that this one is not: directories that look like them.

use super::*;

const ALL: [Controller; 3] = Controller::ALL;

fn make(root: &Path, dirs: &[&str]) {
    for dir in dirs {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
}

fn read(dir: &Path, name: &str) -> String {
    fs::read_to_string(dir.join(name)).unwrap()
}

fn limits() -> Limits {
    Limits {
        memory_bytes: 1 << 30,
        cpu_millis: 1500,
        processes: 99,
    }
}

#[test]
fn version_1_has_a_hierarchy_for_each() {
    let root = tempfile::tempdir().unwrap();
    make(root.path(), &["memory/mine/here", "cpu,cpuacct", "pids"]);
    let at = |name: &str| root.path().join(name);
    let mountinfo = format!(
        "31 23 0:28 / {0} rw - tmpfs tmpfs rw,mode=755\n\
         32 31 0:29 / {0}/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
         35 31 0:32 / {0}/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n\
         39 31 0:36 / {0}/pids rw,relatime - cgroup cgroup rw,pids\n\
         40 31 0:37 / {0}/systemd rw - cgroup cgroup rw,name=systemd\n",
        root.path().display()
    );
    let own = "9:name=systemd:/\n8:pids:/\n4:memory:/mine/here\n1:cpu,cpuacct:/\n";
    let found = Hierarchy::parse(&mountinfo, own);
    let seats: Vec<Seat> = found.iter().map(|h| h.seat().unwrap().0).collect();
    let seat = |dir: &str, controller| Seat {
        dir: at(dir),
        version: Version::One,
        controllers: vec![controller],
    };
    assert_eq!(
        seats,
        [
            seat("pids", Controller::Pids),
            seat("memory/mine/here", Controller::Memory),
            seat("cpu,cpuacct", Controller::Cpu)
        ]
    );
}

#[test]
fn version_2_beside_version_1_has_what_is_left() {
    let root = tempfile::tempdir().unwrap();
    make(root.path(), &["memory", "unified"]);
    set(
        &root.path().join("unified"),
        "cgroup.controllers",
        "cpu pids hugetlb memory\n",
    )
    .unwrap();
    let mountinfo = format!(
        "1 0 0:1 / {0}/memory rw - cgroup cgroup rw,memory\n\
         2 0 0:2 / {0}/unified rw - cgroup2 cgroup2 rw,nsdelegate\n",
        root.path().display()
    );
    let found = Hierarchy::parse(&mountinfo, "4:memory:/\n0::/\n");
    let has: Vec<_> = found.iter().map(|h| h.controllers.clone()).collect();
    assert_eq!(
        has,
        [
            vec![Controller::Memory],
            vec![Controller::Cpu, Controller::Pids]
        ]
    );
}

#[test]
fn in_a_container_the_mount_begins_at_its_own_group() {
    let root = tempfile::tempdir().unwrap();
    make(root.path(), &["cg/inner"]);
    set(&root.path().join("cg"), "cgroup.controllers", "memory").unwrap();
    let mountinfo = format!(
        "1 0 0:1 /docker/abc {}/cg ro - cgroup2 cgroup rw\n",
        root.path().display()
    );
    let found = Hierarchy::parse(&mountinfo, "0::/docker/abc/inner\n");
    assert_eq!(found[0].own, root.path().join("cg/inner"));
    // A group that lies outside of what is mounted is nobody's business.
    assert_eq!(Hierarchy::parse(&mountinfo, "0::/docker/xyz\n"), []);
    assert_eq!(Hierarchy::parse(&mountinfo, "0::/../outside\n"), []);
    assert_eq!(Hierarchy::parse("nonsense\n\n1 - cgroup\n", "x\n0:\n"), []);
}

#[test]
fn version_2_takes_the_nearest_group_that_lets_it() {
    let root = tempfile::tempdir().unwrap();
    let dir = |name: &str| root.path().join(name);
    make(root.path(), &["slice/unit"]);
    let hierarchy = Hierarchy {
        version: Version::Two,
        mount: root.path().to_owned(),
        own: dir("slice/unit"),
        controllers: ALL.to_vec(),
    };
    for name in ["", "slice", "slice/unit"] {
        set(&dir(name), "cgroup.controllers", "cpu memory pids").unwrap();
    }
    // The kernel takes some controllers even there, but nobody could join what is made below.
    set(&dir("slice/unit"), "cgroup.type", "domain\n").unwrap();
    set(&dir("slice/unit"), "cgroup.procs", "4711\n").unwrap();
    set(&dir("slice/unit"), "cgroup.subtree_control", "").unwrap();
    set(&dir("slice"), "cgroup.subtree_control", "memory pids cpu\n").unwrap();
    let (seat, withheld) = hierarchy.seat().unwrap();
    assert_eq!(withheld, None);
    assert_eq!((seat.dir, seat.controllers), (dir("slice"), ALL.to_vec()));
    assert_eq!(
        read(&dir("slice"), "cgroup.subtree_control"),
        "memory pids cpu\n"
    );
    assert_eq!(read(&dir("slice/unit"), "cgroup.subtree_control"), "");

    // Where none of them lets it, that is the answer, and nothing above the mount is asked.
    fs::remove_file(dir("slice/cgroup.subtree_control")).unwrap();
    make(
        root.path(),
        &["slice/cgroup.subtree_control", "cgroup.subtree_control"],
    );
    assert!(hierarchy.seat().is_err());
}

#[test]
fn controllers_that_are_off_are_switched_on() {
    let root = tempfile::tempdir().unwrap();
    set(root.path(), "cgroup.controllers", "cpu memory pids").unwrap();
    set(root.path(), "cgroup.subtree_control", "cpu").unwrap();
    let mut enabled = enable(root.path(), &ALL).unwrap().controllers;
    enabled.sort_by_key(|controller| controller.name());
    assert_eq!(
        enabled,
        [Controller::Cpu, Controller::Memory, Controller::Pids]
    );
    // All at once, or the kernel might take some and refuse others.
    let written = read(root.path(), "cgroup.subtree_control");
    assert!(["+memory +pids", "+pids +memory"].contains(&written.as_str()));
}

#[test]
fn controllers_that_a_group_was_not_given_are_not_asked_for() {
    let root = tempfile::tempdir().unwrap();
    let nothing = Enabled {
        controllers: Vec::new(),
        withheld: Some("the group above was not given memory, cpu, pids".to_owned()),
    };
    // A group that says nothing was given nothing.
    assert_eq!(enable(root.path(), &ALL), Ok(nothing));
    assert!(!root.path().join("cgroup.subtree_control").exists());
    set(root.path(), "cgroup.controllers", "pids\n").unwrap();
    let some = Enabled {
        controllers: vec![Controller::Pids],
        withheld: Some("the group above was not given memory, cpu".to_owned()),
    };
    assert_eq!(enable(root.path(), &ALL), Ok(some.clone()));
    assert_eq!(read(root.path(), "cgroup.subtree_control"), "+pids");
    // The reason comes with the place, for who wonders where his limits are.
    let hierarchy = Hierarchy {
        version: Version::Two,
        mount: root.path().to_owned(),
        own: root.path().to_owned(),
        controllers: ALL.to_vec(),
    };
    let (seat, withheld) = hierarchy.seat().unwrap();
    assert_eq!(
        (seat.controllers, withheld),
        (some.controllers, some.withheld)
    );
}

#[test]
fn limits_are_written_in_the_words_of_each_version() {
    let one = tempfile::tempdir().unwrap();
    let two = tempfile::tempdir().unwrap();
    for controller in ALL {
        controller
            .limit(Version::One, one.path(), &limits())
            .unwrap();
        controller
            .limit(Version::Two, two.path(), &limits())
            .unwrap();
    }
    let bytes = (1_u64 << 30).to_string();
    assert_eq!(read(one.path(), "memory.limit_in_bytes"), bytes);
    assert_eq!(read(one.path(), "memory.memsw.limit_in_bytes"), bytes);
    assert_eq!(read(one.path(), "cpu.cfs_period_us"), "100000");
    assert_eq!(read(one.path(), "cpu.cfs_quota_us"), "150000");
    assert_eq!(read(one.path(), "cpu.shares"), "1536");
    assert_eq!(read(one.path(), "pids.max"), "99");
    assert_eq!(read(two.path(), "memory.max"), bytes);
    assert_eq!(read(two.path(), "memory.swap.max"), "0");
    assert_eq!(read(two.path(), "cpu.max"), "150000 100000");
    assert_eq!(read(two.path(), "cpu.weight"), "150");
    assert_eq!(read(two.path(), "pids.max"), "99");
    let tiny = Limits {
        cpu_millis: 1,
        ..limits()
    };
    Controller::Cpu
        .limit(Version::Two, two.path(), &tiny)
        .unwrap();
    assert_eq!(read(two.path(), "cpu.max"), "1000 100000");
    assert_eq!(read(two.path(), "cpu.weight"), "1");
}

#[test]
fn numbers_are_read_by_name() {
    let root = tempfile::tempdir().unwrap();
    set(root.path(), "memory.events", "low 1\noom 7\noom_kill 3\n").unwrap();
    set(root.path(), "memory.failcnt", "12\n").unwrap();
    assert_eq!(number(root.path(), "memory.events", Some("oom")), 7);
    assert_eq!(number(root.path(), "memory.events", Some("oom_kill")), 3);
    assert_eq!(number(root.path(), "memory.failcnt", None), 12);
    assert_eq!(number(root.path(), "absent", None), 0);
}

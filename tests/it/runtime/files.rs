//! Files of a target component: its own instance's, with the right owner and mode, and nothing else.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_written_where_they_belong() {
    let place = Place::with_fixtures();
    let runtime = place.open().await;
    let target = target(&runtime);
    let id = InstanceId::generate();
    for _ in 0..2 {
        target
            .apply(&deployment(id, "create/provision"))
            .await
            .unwrap();
    }
    target
        .apply(&deployment(id, "secret main/key.pem"))
        .await
        .unwrap();
    let dir = runtime.directories().of(id, None).instance_dir;
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(mode(&dir.join("main/data")), 0o700);
    assert_eq!(mode(&dir.join("main/server.conf")), 0o640);
    assert_eq!(mode(&dir.join("main/key.pem")), 0o600);
    assert_eq!(
        std::fs::read_to_string(dir.join("main/key.pem")).unwrap(),
        "correct-horse-battery"
    );
    let names = std::fs::read_dir(dir.join("main")).unwrap().count();
    assert_eq!(names, 3, "nothing unfinished is left");

    for _ in 0..2 {
        target
            .remove(&deployment(id, "delete/remove"))
            .await
            .unwrap();
        assert!(!dir.exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_belong_to_the_instances_user() {
    if !nix::unistd::geteuid().is_root() {
        return; // Only root can give files away.
    }
    let place = Place::with_fixtures();
    let runtime = place.open().await;
    let id = InstanceId::generate();
    let uid = 61_234;
    let mut context = deployment(id, "create/provision");
    context.uid = Some(uid);
    target(&runtime).apply(&context).await.unwrap();
    let scope = runtime.directories().of(id, Some(uid));
    let owner = |path: &Path| {
        let found = std::fs::metadata(path).unwrap();
        (found.uid(), found.gid())
    };
    // The instance's own directory stays the host's: its user must not move things about in it.
    assert_eq!(owner(&scope.instance_dir), (0, uid));
    assert_eq!(mode(&scope.instance_dir), 0o750);
    assert_eq!(owner(&scope.run_dir), (uid, uid));
    assert_eq!(mode(&scope.run_dir), 0o700);
    for path in ["main", "main/data", "main/server.conf"] {
        assert_eq!(owner(&scope.instance_dir.join(path)), (uid, uid), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_path_leads_out() {
    let place = Place::with_fixtures();
    let runtime = place.open().await;
    let target = target(&runtime);
    let id = InstanceId::generate();
    target
        .apply(&deployment(id, "create/provision"))
        .await
        .unwrap();
    let outside = tempfile::tempdir().unwrap();
    let dir = runtime.directories().of(id, None).instance_dir;
    symlink(outside.path(), dir.join("main/out")).unwrap();
    symlink(dir.join("main/data"), dir.join("main/in")).unwrap();
    let victim = outside.path().join("victim");
    std::fs::write(&victim, "untouched").unwrap();
    symlink(&victim, dir.join("main/file")).unwrap();
    for path in [
        "../escaped",
        "main/../../escaped",
        "/etc/berth-escaped",
        "./../escaped",
        "",
        ".",
        "..",
        ".berth/main/service.json",
        "main/out/escaped",
        "main/out/deep/escaped",
        "main/in/escaped",
        "a\0b",
        "a\nb",
    ] {
        for what in ["write", "make-dir", "locate"] {
            let error = target
                .apply(&deployment(id, &format!("{what} {path}")))
                .await
                .unwrap_err();
            assert!(
                error.public().starts_with("cannot "),
                "{what} {path:?}: {error:?}"
            );
        }
    }
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
    assert_eq!(std::fs::read_dir(dir.join("main/data")).unwrap().count(), 0);
    assert!(!dir.parent().unwrap().join("escaped").exists());

    // A link in the place of a file is replaced, not written through.
    target
        .apply(&deployment(id, "write main/file"))
        .await
        .unwrap();
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "untouched");
    assert!(dir.join("main/file").symlink_metadata().unwrap().is_file());

    // Removing goes through no link either.
    target
        .remove(&deployment(id, "delete/remove"))
        .await
        .unwrap();
    assert!(victim.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn too_large_a_file_is_refused() {
    let place = Place::with_fixtures();
    let runtime = place.open().await;
    let error = target(&runtime)
        .apply(&deployment(InstanceId::generate(), "write-big main"))
        .await
        .unwrap_err();
    assert!(
        error.public().contains("more data than is allowed")
            || error.public().contains("of memory"),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_is_named_for_programs() {
    let place = Place::with_fixtures();
    let runtime = place.open().await;
    let id = InstanceId::generate();
    let error = target(&runtime)
        .apply(&deployment(id, "locate main/data"))
        .await
        .unwrap_err();
    let dir = runtime.directories().of(id, None).instance_dir;
    assert_eq!(error.public(), dir.join("main/data").to_str().unwrap());
}

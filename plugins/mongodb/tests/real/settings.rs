//! Settings and certificates of a running server.

use berth_plugin_mongodb::MongoDb;
use berth_sdk::engine::settings::Settings;
use berth_sdk::types::Error;

use crate::server::Server;

const NONE: [&str; 0] = [];

pub fn live(server: &mut Server) {
    assert_eq!(reload(server), NONE);
    let level = "print(client.admin.command('getParameter', '*')['cursorTimeoutMillis'])";
    assert_eq!(server.client(level).as_deref(), Ok("600000"));
    let pid = server.pid();
    server.configure(&[("cursorTimeoutMillis", "5000"), ("quiet", "on")]);
    for _ in 0..2 {
        assert_eq!(reload(server), NONE);
    }
    assert_eq!(server.client(level).as_deref(), Ok("5000"));
    assert_eq!(server.pid(), pid);

    // What waits for a restart is said, what does not is in force, and after the restart all is.
    server.configure(&[
        ("cursorTimeoutMillis", "7000"),
        ("maxSessions", "2000"),
        ("storage.journal.commitIntervalMs", "50"),
        ("operationProfiling.mode", "slowOp"),
    ]);
    let waiting = [
        "maxSessions",
        "operationProfiling.mode",
        "storage.journal.commitIntervalMs",
    ];
    assert_eq!(reload(server), waiting);
    assert_eq!(server.client(level).as_deref(), Ok("7000"));
    server.restart();
    assert_eq!(reload(server), NONE);
    assert_eq!(server.client(level).as_deref(), Ok("7000"));

    // One that the server refuses, after one that it takes: it goes on with what it had.
    server.configure(&[("cursorTimeoutMillis", "9000"), ("logLevel", "high")]);
    let refused = MongoDb::reload(server.instance.clone());
    assert!(
        matches!(&refused, Err(Error::Invalid(fields)) if fields[0].field == "logLevel"),
        "{refused:?}"
    );
    assert_eq!(server.client(level).as_deref(), Ok("7000"));
    server.configure(&[]);
    assert_eq!(reload(server), waiting);
    server.restart();

    certificates(server);
}

fn certificates(server: &mut Server) {
    let before = server.certificate();
    let pid = server.pid();
    server.renew_certificate();
    assert_eq!(server.certificate(), before, "nobody has told it yet");
    assert_eq!(reload(server), NONE);
    assert_ne!(server.certificate(), before);
    assert_eq!(server.pid(), pid);
    server.client("db.command('ping')").expect("it is done");
}

fn reload(server: &Server) -> Vec<String> {
    MongoDb::reload(server.instance.clone()).expect("a reload")
}

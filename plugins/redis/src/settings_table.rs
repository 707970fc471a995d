//! The settings that callers may choose, as data. Everything that could break out of the server, lock Berth out of it,
//! lose what was written down or outgrow the node is left out: paths, addresses, certificates, users, the log of changes
//! itself, limits of memory and connections. A test holds this against every version.

use berth_sdk::settings::{
    Init, Is, Live, Match, Restart, Since, Switch, Table, Unchosen, Whole, Word, row, since,
};

use crate::catalog::{SINCE_7_2, SINCE_8_0};

const MOST: i64 = 2_147_483_647;
/// Lists, of which `off` is the empty one.
const SAVE: &str = "off|[1-9][0-9]{0,8} [1-9][0-9]{0,8}( [1-9][0-9]{0,8} [1-9][0-9]{0,8}){0,7}";
const EVENTS: &str = "off|[KEg$lshzxednmtA]{1,16}";
const POLICIES: &str = "noeviction|allkeys-lru|allkeys-lfu|allkeys-random|volatile-lru|volatile-lfu|volatile-random|volatile-ttl";
const LAZY: Unchosen = Since("off", SINCE_8_0, "on");

#[rustfmt::skip]
pub static TABLE: Table = Table { product: "Redis", rows: &[
    row("acllog-max-len", Whole(0, 10_000), "", Is("128"), Live, "How many refusals by access rules are remembered."),
    row("active-expire-effort", Whole(1, 10), "", Is("1"), Live, "How much work is put into finding keys that have expired."),
    row("activerehashing", Switch, "", Is("on"), Live, "Whether a part of the processor's time goes to resizing the table of keys."),
    row("aof-timestamp-enabled", Switch, "", Is("off"), Live, "Whether the log of changes says when each was made."),
    row("appendfsync", Word("always|everysec|no"), "", Is("everysec"), Live, "When the log of changes is made durable: before each answer, once a second, or when the system does it."),
    row("auto-aof-rewrite-min-size", Whole(1, 65_536), "MB", Is("64"), Live, "Size from which on the log of changes is written anew."),
    row("auto-aof-rewrite-percentage", Whole(1, 10_000), "", Is("100"), Live, "Growth in percent after which the log of changes is written anew."),
    row("busy-reply-threshold", Whole(100, 3_600_000), "ms", Is("5000"), Live, "How long a script may run before others are told that the server is busy."),
    row("client-query-buffer-limit", Whole(1, 1024), "MB", Is("1024"), Live, "How much a client may send in one command."),
    row("databases", Whole(1, 1024), "", Is("16"), Init, "How many numbered databases there are."),
    row("dynamic-hz", Switch, "", Is("on"), Live, "Whether background work is done more often when there are many clients."),
    row("hash-max-listpack-entries", Whole(0, MOST), "", Is("512"), Live, "Up to how many fields a hash is kept in the compact form."),
    row("hash-max-listpack-value", Whole(0, MOST), "B", Is("64"), Live, "Up to which length of its values a hash is kept in the compact form."),
    row("hll-sparse-max-bytes", Whole(0, 16_000), "B", Is("3000"), Live, "Up to which size a HyperLogLog is kept in the sparse form."),
    row("hz", Whole(1, 500), "", Is("10"), Live, "How many times a second background work is done."),
    row("io-threads", Whole(1, 16), "", Is("1"), Restart, "How many threads read from and write to clients."),
    row("latency-monitor-threshold", Whole(0, MOST), "ms", Is("0"), Live, "From which duration on an event is remembered as slow; 0 for never."),
    row("latency-tracking", Switch, "", Is("on"), Live, "Whether the durations of each command are counted."),
    row("lazyfree-lazy-eviction", Switch, "", LAZY, Live, "Whether what is evicted is freed in the background."),
    row("lazyfree-lazy-expire", Switch, "", LAZY, Live, "Whether what has expired is freed in the background."),
    row("lazyfree-lazy-server-del", Switch, "", LAZY, Live, "Whether what a command replaces is freed in the background."),
    row("lazyfree-lazy-user-del", Switch, "", LAZY, Live, "Whether DEL frees in the background, as UNLINK does."),
    row("lazyfree-lazy-user-flush", Switch, "", LAZY, Live, "Whether FLUSHALL and FLUSHDB free in the background."),
    row("lfu-decay-time", Whole(0, MOST), "min", Is("1"), Live, "After which time without use a key counts as used less."),
    row("lfu-log-factor", Whole(0, MOST), "", Is("10"), Live, "How many uses it takes for a key to count as used often."),
    row("list-compress-depth", Whole(0, MOST), "", Is("0"), Live, "How many nodes at each end of a list are not compressed; 0 for all."),
    row("list-max-listpack-size", Whole(-5, 8192), "", Is("-2"), Live, "Entries of a list's node, or from -1 to -5 its size from 4 to 64 kB."),
    row("maxmemory-eviction-tenacity", Whole(0, 100), "", Is("10"), Live, "How much time goes to eviction before clients are served again."),
    row("maxmemory-policy", Word(POLICIES), "", Is("noeviction"), Live, "Which keys give way when the memory is full; noeviction refuses writes."),
    row("maxmemory-samples", Whole(1, 64), "", Is("5"), Live, "Among how many keys the one to be evicted is chosen."),
    row("no-appendfsync-on-rewrite", Switch, "", Is("off"), Live, "Whether the log of changes is not made durable while a child writes to disk."),
    row("notify-keyspace-events", Match(EVENTS), "", Is("off"), Live, "Which changes are told to subscribers, by the letters of the server's documentation."),
    row("proto-max-bulk-len", Whole(1, 512), "MB", Is("512"), Live, "The longest string that a client may send."),
    row("rdbchecksum", Switch, "", Is("on"), Restart, "Whether snapshots carry a checksum."),
    row("rdbcompression", Switch, "", Is("on"), Live, "Whether strings are compressed in snapshots."),
    row("save", Match(SAVE), "", Is("3600 1 300 100 60 10000"), Live, "When snapshots are taken beside the log of changes, as pairs of seconds and changes."),
    row("set-max-intset-entries", Whole(0, MOST), "", Is("512"), Live, "Up to how many members a set of numbers is kept in the compact form."),
    since(SINCE_7_2, row("set-max-listpack-entries", Whole(0, MOST), "", Is("128"), Live, "Up to how many members a set is kept in the compact form.")),
    since(SINCE_7_2, row("set-max-listpack-value", Whole(0, MOST), "B", Is("64"), Live, "Up to which length of its members a set is kept in the compact form.")),
    row("slowlog-log-slower-than", Whole(-1, MOST), "us", Is("10000"), Live, "From which duration on a command is remembered as slow; -1 for never."),
    row("slowlog-max-len", Whole(0, 100_000), "", Is("128"), Live, "How many slow commands are remembered."),
    row("stop-writes-on-bgsave-error", Switch, "", Is("on"), Live, "Whether writes are refused when a snapshot could not be taken."),
    row("stream-node-max-bytes", Whole(0, MOST), "B", Is("4096"), Live, "Size of a stream's node; 0 for no limit."),
    row("stream-node-max-entries", Whole(0, MOST), "", Is("100"), Live, "Entries of a stream's node; 0 for no limit."),
    row("tcp-keepalive", Whole(1, MOST), "s", Is("300"), Live, "How often a silent client is asked whether it is there."),
    row("timeout", Whole(0, MOST), "s", Is("0"), Live, "How long a client may be idle before it is disconnected; 0 for ever."),
    row("tracking-table-max-keys", Whole(0, MOST), "", Is("1000000"), Live, "How many keys clients that cache may track together; 0 for no limit."),
    row("zset-max-listpack-entries", Whole(0, MOST), "", Is("128"), Live, "Up to how many members a sorted set is kept in the compact form."),
    row("zset-max-listpack-value", Whole(0, MOST), "B", Is("64"), Live, "Up to which length of its members a sorted set is kept in the compact form."),
] };

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::schemas;

    #[test]
    fn every_version_offers_many_and_nothing_dangerous() {
        for release in [70, SINCE_7_2, SINCE_8_0] {
            let schemas = schemas(release);
            assert!(schemas.len() >= 40, "{release}: {}", schemas.len());
            for schema in schemas {
                let name = &*schema.name;
                assert!(schema.description.ends_with('.'), "{name}");
                for part in [
                    "dir",
                    "file",
                    "tls",
                    "port",
                    "bind",
                    "socket",
                    "acl",
                    "module",
                    "replica",
                    "repl-",
                    "user",
                    "pass",
                    "command",
                    "protected",
                    "cluster",
                    "lua",
                    "appendonly",
                    "maxclients",
                    "rename",
                    "log-path",
                    "supervised",
                    "syslog",
                    "proc-",
                    "title",
                ] {
                    let harmless = [
                        "acllog-max-len",
                        "lazyfree-lazy-user-del",
                        "lazyfree-lazy-user-flush",
                    ];
                    assert!(
                        harmless.contains(&name) || !name.contains(part),
                        "{name}: {part}"
                    );
                }
                assert_ne!(name, "maxmemory");
            }
        }
    }
}

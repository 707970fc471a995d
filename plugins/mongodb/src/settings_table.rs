//! The settings that callers may choose, as data. A name with a dot is a line of the server's file, one without is a
//! parameter. What could break out of the server, lock Berth out of it or outgrow the node is left out: paths, addresses,
//! certificates, users, the set of replicas, the cache, limits of connections; and what keeps Berth's own queries from
//! being answered. Defaults, bounds and what can be set while the server runs are those of the manual's pages "Server
//! Parameters" and "Configuration File Options".

use berth_sdk::settings::{Init, Is, Live, Match, Real, Restart, Switch, Table, Whole, Word, row};

/// Every version has the same.
pub const ANY_VERSION: u32 = 0;

const MOST: i64 = 2_147_483_647;
const MIB: i64 = 1 << 20;
const HUNDRED_MB: &str = "104857600";
const BLOCKS: &str = "none|snappy|zlib|zstd";
const WIRE: &str = "disabled|(snappy|zlib|zstd)(,(snappy|zlib|zstd)){0,2}";

#[rustfmt::skip]
pub static TABLE: Table = Table { product: "MongoDB", rows: &[
    row("TransactionRecordMinimumLifetimeMinutes", Whole(1, 10_080), "min", Is("30"), Restart, "How long a transaction's record is kept at least."),
    row("allowDiskUseByDefault", Switch, "", Is("on"), Live, "Whether a pipeline that needs more than 100 MB for a stage may go to disk without asking for it."),
    row("cursorTimeoutMillis", Whole(1000, MOST), "ms", Is("600000"), Live, "After which time a cursor that nobody reads from is closed."),
    row("diagnosticDataCollectionDirectorySizeMB", Whole(20, 10_000), "MB", Is("200"), Live, "How much of what the server collects of itself is kept."),
    row("diagnosticDataCollectionEnabled", Switch, "", Is("on"), Live, "Whether the server collects figures of itself."),
    row("diagnosticDataCollectionPeriodMillis", Whole(100, 3_600_000), "ms", Is("1000"), Live, "How often the server collects figures of itself."),
    row("indexMaxNumGeneratedKeysPerDocument", Whole(1, MOST), "", Is("100000"), Restart, "How many keys a document may have in an index."),
    row("internalDocumentSourceGroupMaxMemoryBytes", Whole(MIB, MOST), "B", Is(HUNDRED_MB), Live, "Memory of a stage that groups before it goes to disk."),
    row("internalDocumentSourceSetWindowFieldsMaxMemoryBytes", Whole(MIB, MOST), "B", Is(HUNDRED_MB), Live, "Memory of a stage with windows before it goes to disk."),
    row("internalQueryFacetBufferSizeBytes", Whole(MIB, MOST), "B", Is(HUNDRED_MB), Live, "Memory that a stage of facets has for its documents."),
    row("internalQueryMaxAddToSetBytes", Whole(MIB, MOST), "B", Is(HUNDRED_MB), Live, "Memory of a set that a pipeline gathers."),
    row("internalQueryMaxBlockingSortMemoryUsageBytes", Whole(MIB, MOST), "B", Is(HUNDRED_MB), Live, "Memory of a sort without an index before it goes to disk."),
    row("logLevel", Whole(0, 5), "", Is("0"), Live, "How much is logged: 0 what one wants to know, 5 everything."),
    row("maxIndexBuildMemoryUsageMegabytes", Whole(50, MOST), "MB", Is("200"), Live, "Memory for building indexes of a collection at once."),
    row("maxLogSizeKB", Whole(0, 10_000), "kB", Is("10"), Live, "Up to which size a part of a line of the log is shown; 0 for all of it."),
    row("maxNumActiveUserIndexBuilds", Whole(0, 1000), "", Is("3"), Live, "How many indexes are built at the same time."),
    row("maxSessions", Whole(1000, MOST), "", Is("1000000"), Restart, "How many logical sessions there may be."),
    row("maxTransactionLockRequestTimeoutMillis", Whole(-1, MOST), "ms", Is("5"), Live, "How long a transaction waits for a lock; -1 as long as the operation may take."),
    row("maxValidateMemoryUsageMB", Whole(1, MOST), "MB", Is("200"), Live, "Memory for looking whether a collection is sound."),
    row("minSnapshotHistoryWindowInSeconds", Whole(0, 86_400), "s", Is("300"), Live, "How far back a read of an earlier state may go."),
    row("net.compression.compressors", Match(WIRE), "", Is("snappy,zstd,zlib"), Restart, "How what is sent to clients may be compressed, the best first."),
    row("operationProfiling.mode", Word("off|slowOp|all"), "", Is("off"), Restart, "Which operations are written to the profile of their database, besides the log."),
    row("operationProfiling.slowOpSampleRate", Real(0.0, 1.0), "", Is("1.0"), Restart, "Which part of the slow operations is logged."),
    row("operationProfiling.slowOpThresholdMs", Whole(0, MOST), "ms", Is("100"), Restart, "From which duration on an operation is slow."),
    row("periodicNoopIntervalSecs", Whole(1, 3600), "s", Is("10"), Restart, "How often the log of changes gets an entry when nothing changes."),
    row("quiet", Switch, "", Is("off"), Live, "Whether connections and the like are left out of the log."),
    row("scramSHA256IterationCount", Whole(5000, 100_000), "", Is("15000"), Live, "Rounds of the hash of passwords that are set from now on: more make guessing and logging in slower."),
    row("security.javascriptEnabled", Switch, "", Is("on"), Restart, "Whether queries may contain JavaScript."),
    row("storage.directoryPerDB", Switch, "", Is("off"), Init, "Whether each database has a directory of its own."),
    row("storage.journal.commitIntervalMs", Whole(1, 500), "ms", Is("100"), Restart, "How often the journal is made durable when no write asks for it."),
    row("storage.oplogMinRetentionHours", Real(0.0, 8760.0), "h", Is("0.0"), Restart, "How far back the log of changes reaches at least, whatever its size; 0 for no matter."),
    row("storage.wiredTiger.collectionConfig.blockCompressor", Word(BLOCKS), "", Is("snappy"), Restart, "How collections that are made from now on are compressed."),
    row("storage.wiredTiger.engineConfig.directoryForIndexes", Switch, "", Is("off"), Init, "Whether indexes are kept in directories of their own."),
    row("storage.wiredTiger.engineConfig.journalCompressor", Word(BLOCKS), "", Is("snappy"), Restart, "How the journal is compressed."),
    row("storage.wiredTiger.indexConfig.prefixCompression", Switch, "", Is("on"), Restart, "Whether indexes that are made from now on leave out what their keys begin with in common."),
    row("transactionLifetimeLimitSeconds", Whole(1, 86_400), "s", Is("60"), Live, "How long a transaction may be open."),
    row("ttlMonitorEnabled", Switch, "", Is("on"), Live, "Whether documents that have expired are removed."),
    row("ttlMonitorSleepSecs", Whole(1, 86_400), "s", Is("60"), Live, "How often documents that have expired are looked for."),
    row("wiredTigerFileHandleCloseIdleTime", Whole(0, 86_400), "s", Is("600"), Restart, "After which time a file that is not used is closed."),
] };

#[cfg(test)]
mod tests {
    use crate::settings::schemas;

    #[test]
    fn there_are_many_and_nothing_dangerous() {
        let schemas = schemas();
        assert!(schemas.len() >= 38, "{}", schemas.len());
        assert!(schemas.is_sorted_by_key(|schema| schema.name.clone()));
        for schema in schemas {
            let name = schema.name;
            assert!(schema.description.ends_with('.'), "{name}");
            for part in [
                "path",
                "Path",
                "bind",
                "port",
                "tls",
                "ssl",
                "keyFile",
                "auth",
                "Auth",
                "ldap",
                "replSet",
                "cacheSize",
                "maxIncoming",
                "notablescan",
                "Bypass",
                "RuntimeConfig",
                "fork",
                "unixDomain",
                "systemLog.destination",
                "failpoint",
                "enableTest",
            ] {
                assert!(!name.contains(part), "{name}: {part}");
            }
            // A parameter has no dot; only a parameter can be told to a running server.
            assert!(!(schema.live && name.contains('.')), "{name}");
        }
    }
}

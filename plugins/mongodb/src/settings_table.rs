//! The settings that callers may choose, as data. A name with a dot is a line of the server's file, one without is a
//! parameter. What could break out of the server, lock Berth out of it or outgrow the node is left out: paths, addresses,
//! certificates, users, the set of replicas, the cache, limits of connections; and what keeps Berth's own queries from
//! being answered. Defaults, bounds and what can be set while the server runs are those of the manual's pages "Server
//! Parameters" and "Configuration File Options".

use berth_sdk::engine::{IntegerBounds, NumberBounds, SettingSchema, SettingType};

/// One setting, with its default.
pub struct Row {
    pub name: &'static str,
    kind: Kind,
    unit: &'static str,
    pub default: &'static str,
    when: When,
    description: &'static str,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    Switch,
    Whole(i64, i64),
    Number(f64, f64),
    /// What matches.
    Word(&'static str),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Live,
    Restart,
    /// When the instance is made, and never again.
    Init,
}

use Kind::{Number, Switch, Whole, Word};
use When::{Init, Live, Restart};

const fn row(
    name: &'static str,
    kind: Kind,
    unit: &'static str,
    default: &'static str,
    when: When,
    description: &'static str,
) -> Row {
    Row {
        name,
        kind,
        unit,
        default,
        when,
        description,
    }
}

const MOST: i64 = 2_147_483_647;
const MIB: i64 = 1 << 20;
const HUNDRED_MB: &str = "104857600";
const BLOCKS: &str = "none|snappy|zlib|zstd";
const WIRE: &str = "disabled|(snappy|zlib|zstd)(,(snappy|zlib|zstd)){0,2}";

#[rustfmt::skip]
const TABLE: &[Row] = &[
    row("TransactionRecordMinimumLifetimeMinutes", Whole(1, 10_080), "min", "30", Restart, "How long a transaction's record is kept at least."),
    row("allowDiskUseByDefault", Switch, "", "on", Live, "Whether a pipeline that needs more than 100 MB for a stage may go to disk without asking for it."),
    row("cursorTimeoutMillis", Whole(1000, MOST), "ms", "600000", Live, "After which time a cursor that nobody reads from is closed."),
    row("diagnosticDataCollectionDirectorySizeMB", Whole(20, 10_000), "MB", "200", Live, "How much of what the server collects of itself is kept."),
    row("diagnosticDataCollectionEnabled", Switch, "", "on", Live, "Whether the server collects figures of itself."),
    row("diagnosticDataCollectionPeriodMillis", Whole(100, 3_600_000), "ms", "1000", Live, "How often the server collects figures of itself."),
    row("indexMaxNumGeneratedKeysPerDocument", Whole(1, MOST), "", "100000", Restart, "How many keys a document may have in an index."),
    row("internalDocumentSourceGroupMaxMemoryBytes", Whole(MIB, MOST), "B", HUNDRED_MB, Live, "Memory of a stage that groups before it goes to disk."),
    row("internalDocumentSourceSetWindowFieldsMaxMemoryBytes", Whole(MIB, MOST), "B", HUNDRED_MB, Live, "Memory of a stage with windows before it goes to disk."),
    row("internalQueryFacetBufferSizeBytes", Whole(MIB, MOST), "B", HUNDRED_MB, Live, "Memory that a stage of facets has for its documents."),
    row("internalQueryMaxAddToSetBytes", Whole(MIB, MOST), "B", HUNDRED_MB, Live, "Memory of a set that a pipeline gathers."),
    row("internalQueryMaxBlockingSortMemoryUsageBytes", Whole(MIB, MOST), "B", HUNDRED_MB, Live, "Memory of a sort without an index before it goes to disk."),
    row("logLevel", Whole(0, 5), "", "0", Live, "How much is logged: 0 what one wants to know, 5 everything."),
    row("maxIndexBuildMemoryUsageMegabytes", Whole(50, MOST), "MB", "200", Live, "Memory for building indexes of a collection at once."),
    row("maxLogSizeKB", Whole(0, 10_000), "kB", "10", Live, "Up to which size a part of a line of the log is shown; 0 for all of it."),
    row("maxNumActiveUserIndexBuilds", Whole(0, 1000), "", "3", Live, "How many indexes are built at the same time."),
    row("maxSessions", Whole(1000, MOST), "", "1000000", Restart, "How many logical sessions there may be."),
    row("maxTransactionLockRequestTimeoutMillis", Whole(-1, MOST), "ms", "5", Live, "How long a transaction waits for a lock; -1 as long as the operation may take."),
    row("maxValidateMemoryUsageMB", Whole(1, MOST), "MB", "200", Live, "Memory for looking whether a collection is sound."),
    row("minSnapshotHistoryWindowInSeconds", Whole(0, 86_400), "s", "300", Live, "How far back a read of an earlier state may go."),
    row("net.compression.compressors", Word(WIRE), "", "snappy,zstd,zlib", Restart, "How what is sent to clients may be compressed, the best first."),
    row("operationProfiling.mode", Word("off|slowOp|all"), "", "off", Restart, "Which operations are written to the profile of their database, besides the log."),
    row("operationProfiling.slowOpSampleRate", Number(0.0, 1.0), "", "1.0", Restart, "Which part of the slow operations is logged."),
    row("operationProfiling.slowOpThresholdMs", Whole(0, MOST), "ms", "100", Restart, "From which duration on an operation is slow."),
    row("periodicNoopIntervalSecs", Whole(1, 3600), "s", "10", Restart, "How often the log of changes gets an entry when nothing changes."),
    row("quiet", Switch, "", "off", Live, "Whether connections and the like are left out of the log."),
    row("scramSHA256IterationCount", Whole(5000, 100_000), "", "15000", Live, "Rounds of the hash of passwords that are set from now on: more make guessing and logging in slower."),
    row("security.javascriptEnabled", Switch, "", "on", Restart, "Whether queries may contain JavaScript."),
    row("storage.directoryPerDB", Switch, "", "off", Init, "Whether each database has a directory of its own."),
    row("storage.journal.commitIntervalMs", Whole(1, 500), "ms", "100", Restart, "How often the journal is made durable when no write asks for it."),
    row("storage.oplogMinRetentionHours", Number(0.0, 8760.0), "h", "0.0", Restart, "How far back the log of changes reaches at least, whatever its size; 0 for no matter."),
    row("storage.wiredTiger.collectionConfig.blockCompressor", Word(BLOCKS), "", "snappy", Restart, "How collections that are made from now on are compressed."),
    row("storage.wiredTiger.engineConfig.directoryForIndexes", Switch, "", "off", Init, "Whether indexes are kept in directories of their own."),
    row("storage.wiredTiger.engineConfig.journalCompressor", Word(BLOCKS), "", "snappy", Restart, "How the journal is compressed."),
    row("storage.wiredTiger.indexConfig.prefixCompression", Switch, "", "on", Restart, "Whether indexes that are made from now on leave out what their keys begin with in common."),
    row("transactionLifetimeLimitSeconds", Whole(1, 86_400), "s", "60", Live, "How long a transaction may be open."),
    row("ttlMonitorEnabled", Switch, "", "on", Live, "Whether documents that have expired are removed."),
    row("ttlMonitorSleepSecs", Whole(1, 86_400), "s", "60", Live, "How often documents that have expired are looked for."),
    row("wiredTigerFileHandleCloseIdleTime", Whole(0, 86_400), "s", "600", Restart, "After which time a file that is not used is closed."),
];

/// All of them; every version has the same.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    TABLE.iter()
}

pub fn schemas() -> Vec<SettingSchema> {
    rows().map(Row::schema).collect()
}

pub fn find(name: &str) -> Option<&'static Row> {
    rows().find(|row| row.name == name)
}

impl Row {
    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn is_live(&self) -> bool {
        self.when == Live
    }

    pub fn is_init_only(&self) -> bool {
        self.when == Init
    }

    fn schema(&self) -> SettingSchema {
        SettingSchema {
            name: self.name.into(),
            description: self.description.into(),
            type_: match self.kind {
                Switch => SettingType::Boolean,
                Whole(minimum, maximum) => SettingType::Integer(IntegerBounds { minimum, maximum }),
                Number(minimum, maximum) => SettingType::Number(NumberBounds { minimum, maximum }),
                Word(pattern) => SettingType::Text(Some(pattern.into())),
            },
            default_value: self.default.into(),
            unit: Some(self.unit)
                .filter(|unit| !unit.is_empty())
                .map(Into::into),
            live: self.is_live(),
            init_only: self.is_init_only(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_many_and_nothing_dangerous() {
        assert!(TABLE.len() >= 38, "{}", TABLE.len());
        assert!(TABLE.is_sorted_by_key(|row| row.name));
        for row in TABLE {
            assert!(row.description.ends_with('.'), "{}", row.name);
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
                assert!(!row.name.contains(part), "{}: {part}", row.name);
            }
            // A parameter has no dot; only a parameter can be told to a running server.
            assert!(!(row.is_live() && row.name.contains('.')), "{}", row.name);
        }
    }
}

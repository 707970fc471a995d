//! The settings that callers may choose, as data. Everything that could break out of the server, lock Berth out of it,
//! lose committed data or fill its storage is left out: commands, libraries, paths, addresses, certificates, where
//! logs go, `fsync` and its like. A test holds this against `pg_settings` of every version.

use berth_sdk::settings::{
    Is, Live, LiveSince, Match, Real, Restart, Since, Sized, Switch, Table, Whole, Word, row, since,
};

const MOST: i64 = 2_147_483_647;
/// Of a number that the server does not bound.
const HUGE: f64 = 1e12;

#[rustfmt::skip]
pub static TABLE: Table = Table { product: "PostgreSQL", rows: &[
    row("autovacuum_analyze_scale_factor", Real(0.0, 100.0), "", Is("0.1"), Live, "Share of a table that must change before its statistics are renewed."),
    row("autovacuum_analyze_threshold", Whole(0, MOST), "", Is("50"), Live, "Rows of a table that must change before its statistics are renewed, beside the share."),
    row("autovacuum_freeze_max_age", Whole(100_000, 2_000_000_000), "", Is("200000000"), Restart, "Age in transactions at which a table is vacuumed in any case."),
    row("autovacuum_max_workers", Whole(1, 16), "", Is("3"), LiveSince(18), "How many tables are vacuumed at once."),
    row("autovacuum_naptime", Whole(1, 2_147_483), "s", Is("60"), Live, "Pause between two looks at a database for tables to vacuum."),
    row("autovacuum_vacuum_cost_delay", Real(-1.0, 100.0), "ms", Is("2"), Live, "Pause of automatic vacuuming when its cost limit is reached; -1 takes vacuum_cost_delay."),
    row("autovacuum_vacuum_cost_limit", Whole(-1, 10_000), "", Is("-1"), Live, "Cost after which automatic vacuuming pauses; -1 takes vacuum_cost_limit."),
    row("autovacuum_vacuum_insert_scale_factor", Real(0.0, 100.0), "", Is("0.2"), Live, "Share of a table that must be inserted before it is vacuumed."),
    row("autovacuum_vacuum_insert_threshold", Whole(-1, MOST), "", Is("1000"), Live, "Rows that must be inserted into a table before it is vacuumed, beside the share; -1 for never."),
    row("autovacuum_vacuum_scale_factor", Real(0.0, 100.0), "", Is("0.2"), Live, "Share of a table that must change before it is vacuumed."),
    row("autovacuum_vacuum_threshold", Whole(0, MOST), "", Is("50"), Live, "Rows of a table that must change before it is vacuumed, beside the share."),
    row("bgwriter_delay", Whole(10, 10_000), "ms", Is("200"), Live, "Pause between two rounds of the background writer."),
    row("bgwriter_lru_maxpages", Whole(0, 1_073_741_823), "", Is("100"), Live, "Pages that the background writer writes in one round at most."),
    row("bgwriter_lru_multiplier", Real(0.0, 10.0), "", Is("2"), Live, "How many pages the background writer frees for each that was needed lately."),
    row("checkpoint_completion_target", Real(0.0, 1.0), "", Is("0.9"), Live, "Share of the time between two checkpoints over which the writing of one is spread."),
    row("checkpoint_timeout", Whole(30, 86_400), "s", Is("300"), Live, "Longest time between two checkpoints."),
    row("constraint_exclusion", Word("on|off|partition"), "", Is("partition"), Live, "For which tables the planner skips those that constraints exclude."),
    row("cursor_tuple_fraction", Real(0.0, 1.0), "", Is("0.1"), Live, "Share of a cursor's rows that the planner expects to be fetched."),
    row("deadlock_timeout", Whole(1, MOST), "ms", Is("1000"), Live, "How long a lock is waited for before a deadlock is looked for."),
    row("default_statistics_target", Whole(1, 10_000), "", Is("100"), Live, "How detailed the statistics of a column are."),
    row("default_transaction_isolation", Word("serializable|repeatable read|read committed|read uncommitted"), "", Is("read committed"), Live, "Isolation of transactions that do not say theirs."),
    row("effective_cache_size", Whole(1, 16_777_215), "MB", Sized, Live, "How much of the data the planner expects to find in memory."),
    row("effective_io_concurrency", Whole(0, 1000), "", Since("1", 18, "16"), Live, "How many pages are asked of the storage at once."),
    row("enable_partitionwise_aggregate", Switch, "", Is("off"), Live, "Whether partitions may be grouped one by one."),
    row("enable_partitionwise_join", Switch, "", Is("off"), Live, "Whether partitions may be joined pair by pair."),
    row("from_collapse_limit", Whole(1, MOST), "", Is("8"), Live, "Up to how many tables a subquery is merged into its query."),
    row("geqo", Switch, "", Is("on"), Live, "Whether queries of many tables are planned by genetic search."),
    row("geqo_threshold", Whole(2, MOST), "", Is("12"), Live, "From how many tables on a query is planned by genetic search."),
    row("gin_pending_list_limit", Whole(64, MOST), "kB", Is("4096"), Live, "Size of the list of entries that wait to be put into a GIN index."),
    row("hash_mem_multiplier", Real(1.0, 1000.0), "", Since("1", 15, "2"), Live, "How much more memory than work_mem a hash may take."),
    row("hot_standby_feedback", Switch, "", Is("off"), Live, "Whether a standby tells its primary which rows its queries need."),
    row("idle_in_transaction_session_timeout", Whole(0, MOST), "ms", Is("0"), Live, "How long a session may be idle inside a transaction before it is ended; 0 for ever."),
    row("idle_session_timeout", Whole(0, MOST), "ms", Is("0"), Live, "How long a session may be idle outside a transaction before it is ended; 0 for ever."),
    row("jit", Switch, "", Is("on"), Live, "Whether expensive queries may be compiled."),
    row("jit_above_cost", Real(-1.0, HUGE), "", Is("100000"), Live, "Cost from which on a query is compiled; -1 for never."),
    row("join_collapse_limit", Whole(1, MOST), "", Is("8"), Live, "Up to how many tables the planner reorders explicit joins."),
    row("lock_timeout", Whole(0, MOST), "ms", Is("0"), Live, "How long a statement waits for a lock; 0 for ever."),
    row("log_autovacuum_min_duration", Whole(-1, MOST), "ms", Since("-1", 15, "600000"), Live, "From which duration on automatic vacuuming is logged; -1 for never."),
    row("log_checkpoints", Switch, "", Is("on"), Live, "Whether checkpoints are logged."),
    row("log_lock_waits", Switch, "", Is("on"), Live, "Whether long waits for locks are logged."),
    row("log_min_duration_statement", Whole(-1, MOST), "ms", Is("-1"), Live, "From which duration on statements are logged with their text; -1 for never."),
    row("log_temp_files", Whole(-1, MOST), "kB", Is("-1"), Live, "From which size on temporary files are logged; -1 for never."),
    row("logical_decoding_work_mem", Whole(64, MOST), "kB", Is("65536"), Live, "Memory that logical decoding takes before it writes to storage."),
    row("maintenance_io_concurrency", Whole(0, 1000), "", Since("10", 18, "16"), Live, "How many pages maintenance asks of the storage at once."),
    row("maintenance_work_mem", Whole(1, 2_097_151), "MB", Sized, Live, "Memory for one maintenance operation, such as building an index."),
    row("max_connections", Whole(10, 4000), "", Sized, Restart, "How many clients may be connected at once."),
    row("max_locks_per_transaction", Whole(10, 65_536), "", Is("64"), Restart, "How many objects each transaction can lock, on average."),
    row("max_parallel_maintenance_workers", Whole(0, 1024), "", Sized, Live, "How many workers one maintenance operation may use."),
    row("max_parallel_workers", Whole(0, 1024), "", Sized, Live, "How many workers all parallel operations together may use."),
    row("max_parallel_workers_per_gather", Whole(0, 1024), "", Sized, Live, "How many workers one node of a query may use."),
    row("max_pred_locks_per_transaction", Whole(10, 65_536), "", Is("64"), Restart, "How many objects each serializable transaction can watch, on average."),
    row("max_prepared_transactions", Whole(0, 10_000), "", Is("0"), Restart, "How many transactions may be prepared at once."),
    row("max_replication_slots", Whole(0, 1000), "", Is("10"), Restart, "How many replication slots there may be."),
    row("max_standby_streaming_delay", Whole(-1, MOST), "ms", Is("30000"), Live, "How long a standby puts off changes for a query that needs the old rows; -1 for ever."),
    row("max_wal_senders", Whole(0, 1000), "", Is("10"), Restart, "How many standbys and backups may be fed at once."),
    row("max_wal_size", Whole(32, 1_048_576), "MB", Sized, Live, "How much is logged between two checkpoints before one is made early."),
    row("max_worker_processes", Whole(0, 1024), "", Sized, Restart, "How many background processes there may be."),
    row("min_wal_size", Whole(32, 1_048_576), "MB", Sized, Live, "How much of the log's storage is used again instead of being made anew."),
    row("parallel_setup_cost", Real(0.0, HUGE), "", Is("1000"), Live, "What the planner expects the start of parallel workers to cost."),
    row("parallel_tuple_cost", Real(0.0, HUGE), "", Is("0.1"), Live, "What the planner expects the passing of a row between workers to cost."),
    row("plan_cache_mode", Word("auto|force_generic_plan|force_custom_plan"), "", Is("auto"), Live, "Whether prepared statements are planned once or each time."),
    row("random_page_cost", Real(0.0, HUGE), "", Is("1.1"), Live, "What the planner expects the reading of a page out of order to cost."),
    row("seq_page_cost", Real(0.0, HUGE), "", Is("1"), Live, "What the planner expects the reading of a page in order to cost."),
    row("shared_buffers", Whole(16, 8_388_607), "MB", Sized, Restart, "Memory in which the server itself keeps data."),
    row("statement_timeout", Whole(0, MOST), "ms", Is("0"), Live, "How long a statement may take; 0 for ever."),
    row("synchronous_commit", Word("on|off|local|remote_write|remote_apply"), "", Is("on"), Live, "What a commit waits for; off may lose the latest commits when the server crashes."),
    row("tcp_keepalives_count", Whole(0, MOST), "", Is("0"), Live, "After how many unanswered probes a client counts as lost; 0 leaves it to the system."),
    row("tcp_keepalives_idle", Whole(0, MOST), "s", Is("0"), Live, "After which time of silence a client is probed; 0 leaves it to the system."),
    row("tcp_keepalives_interval", Whole(0, MOST), "s", Is("0"), Live, "Time between two probes of a silent client; 0 leaves it to the system."),
    row("temp_buffers", Whole(1, 8_388_607), "MB", Is("8"), Live, "Memory in which each session keeps its temporary tables."),
    row("temp_file_limit", Whole(-1, MOST), "kB", Is("-1"), Live, "How much storage the temporary files of one session may take; -1 for any."),
    row("TimeZone", Match("[A-Za-z0-9_+/-]{1,64}"), "", Is("UTC"), Live, "Time zone in which times are shown and read."),
    row("track_activity_query_size", Whole(100, 1_048_576), "B", Is("1024"), Restart, "How much of each running statement's text is kept."),
    row("track_commit_timestamp", Switch, "", Is("off"), Restart, "Whether the times of commits are kept."),
    row("track_functions", Word("none|pl|all"), "", Is("none"), Live, "For which functions calls are counted."),
    row("track_io_timing", Switch, "", Is("off"), Live, "Whether the time of reading and writing is measured."),
    since(17, row("transaction_timeout", Whole(0, MOST), "ms", Is("0"), Live, "How long a transaction may take; 0 for ever.")),
    row("vacuum_cost_delay", Real(0.0, 100.0), "ms", Is("0"), Live, "Pause of vacuuming when its cost limit is reached."),
    row("vacuum_cost_limit", Whole(1, 10_000), "", Is("200"), Live, "Cost after which vacuuming pauses."),
    row("wal_compression", Word("on|off"), "", Is("off"), Live, "Whether full pages are compressed in the log."),
    row("wal_keep_size", Whole(0, 1_048_576), "MB", Is("0"), Live, "How much of the log is kept for standbys that are behind."),
    row("wal_level", Word("replica|logical"), "", Is("replica"), Restart, "How much is logged: what standbys need, or what logical decoding needs too."),
    row("wal_sender_timeout", Whole(0, MOST), "ms", Is("60000"), Live, "After which silence a standby counts as lost; 0 for never."),
    row("wal_writer_delay", Whole(1, 10_000), "ms", Is("200"), Live, "How often the log is written when nothing waits for it."),
    row("work_mem", Whole(1, 2_097_151), "MB", Sized, Live, "Memory for one sort or hash before it goes to storage; a query may take it several times."),
] };

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::schemas;

    #[test]
    fn every_version_offers_many_and_nothing_dangerous() {
        for major in [14, 15, 16, 17, 18] {
            let schemas = schemas(major);
            assert!(schemas.len() >= 40, "{major}: {}", schemas.len());
            for schema in schemas {
                let name = schema.name;
                assert!(!schema.default_value.is_empty(), "{name}");
                assert!(schema.description.ends_with('.'), "{name}");
                for part in [
                    "command",
                    "librar",
                    "ssl",
                    "directory",
                    "file_",
                    "_file",
                    "address",
                    "port",
                    "socket",
                    "fsync",
                    "full_page",
                    "preload",
                    "destination",
                    "collector",
                    "hba",
                    "ident",
                    "krb",
                    "ldap",
                    "password",
                    "role",
                    "superuser",
                    "restrict",
                ] {
                    let harmless = ["log_temp_files", "temp_file_limit"].contains(&&*name);
                    assert!(harmless || !name.contains(part), "{name}: {part}");
                }
            }
        }
        assert!(TABLE.find("transaction_timeout", 16).is_none());
        assert!(TABLE.find("transaction_timeout", 17).is_some());
    }
}

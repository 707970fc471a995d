//! The settings that callers may choose, as data. Everything that could break out of the server, lock Berth out of it,
//! lose committed data or fill its storage is left out: paths, addresses, certificates, plugins, where logs go,
//! `innodb_flush_log_at_trx_commit` and its like. A test holds this against the variables of a real server.

use berth_sdk::settings::{
    Init, Is, Live, Match, Real, Restart, Since, Sized, Switch, Table, Whole, Word, Words, only_in,
    row,
};

use crate::catalog::Series;

const V8_0: u32 = Series::V8_0.number();
const V8_4: u32 = Series::V8_4.number();
const V9_7: u32 = Series::V9_7.number();

const MOST: i64 = 4_294_967_295;
const YEAR: i64 = 31_536_000;

/// How users that are made from now on are let in.
pub const AUTHENTICATION: [&str; 2] = ["authentication_policy", "default_authentication_plugin"];

#[rustfmt::skip]
pub static TABLE: Table = Table { product: "MySQL", rows: &[
    only_in(V8_4, row("authentication_policy", Match(r"\*,,|\*:caching_sha2_password,,|\*:mysql_native_password,,"), "", Is("*,,"), Restart, "How users that are made from now on log in: caching_sha2_password unless another plugin is named.")),
    only_in(V9_7, row("authentication_policy", Match(r"\*,,|\*:caching_sha2_password,,"), "", Is("*,,"), Live, "How users that are made from now on log in: caching_sha2_password unless another plugin is named.")),
    row("auto_increment_increment", Whole(1, 65_535), "", Is("1"), Live, "Distance between two values of an AUTO_INCREMENT column."),
    row("auto_increment_offset", Whole(1, 65_535), "", Is("1"), Live, "First value of an AUTO_INCREMENT column."),
    row("character_set_server", Word("utf8mb4|utf8mb3|latin1|ascii|binary"), "", Is("utf8mb4"), Live, "Character set of databases that do not say theirs."),
    row("connect_timeout", Whole(2, YEAR), "s", Is("10"), Live, "How long a client may take to log in."),
    row("cte_max_recursion_depth", Whole(0, MOST), "", Is("1000"), Live, "How often a common table expression may recur."),
    only_in(V8_0, row("default_authentication_plugin", Word("caching_sha2_password|mysql_native_password"), "", Is("caching_sha2_password"), Restart, "How users that are made from now on log in.")),
    row("default_week_format", Whole(0, 7), "", Is("0"), Live, "How WEEK() counts weeks when it is not told."),
    row("div_precision_increment", Whole(0, 30), "", Is("4"), Live, "How many digits a division adds to its dividend's."),
    row("eq_range_index_dive_limit", Whole(0, MOST), "", Is("200"), Live, "From how many values on the optimizer goes by statistics instead of looking into the index."),
    row("event_scheduler", Switch, "", Is("on"), Live, "Whether events run."),
    row("ft_min_word_len", Whole(1, 84), "", Is("4"), Restart, "Shortest word in a full-text index of MyISAM."),
    row("group_concat_max_len", Whole(4, 1_073_741_824), "", Is("1024"), Live, "Longest result of GROUP_CONCAT(), in bytes."),
    row("innodb_adaptive_hash_index", Switch, "", Since("on", V8_4, "off"), Live, "Whether hot pages of indexes get a hash index."),
    row("innodb_autoinc_lock_mode", Whole(0, 2), "", Is("2"), Restart, "How values of AUTO_INCREMENT columns are locked: 0 traditional, 1 consecutive, 2 interleaved."),
    row("innodb_buffer_pool_size", Whole(128, 8_388_608), "MB", Sized, Live, "Memory for tables and indexes; rounded up to a multiple of 128 MB."),
    row("innodb_deadlock_detect", Switch, "", Is("on"), Live, "Whether deadlocks are looked for; otherwise innodb_lock_wait_timeout ends them."),
    row("innodb_ft_max_token_size", Whole(10, 84), "", Is("84"), Restart, "Longest word in a full-text index."),
    row("innodb_ft_min_token_size", Whole(0, 16), "", Is("3"), Restart, "Shortest word in a full-text index."),
    row("innodb_lock_wait_timeout", Whole(1, 1_073_741_824), "s", Is("50"), Live, "How long a transaction waits for a row."),
    row("innodb_log_buffer_size", Whole(1, 4095), "MB", Sized, Live, "Memory for changes that wait to be written to the log."),
    row("innodb_max_dirty_pages_pct", Real(0.0, 99.99), "", Is("90"), Live, "Share of the buffer pool, in percent, that may wait to be written."),
    row("innodb_old_blocks_time", Whole(0, MOST), "ms", Is("1000"), Live, "How long a page must stay in the buffer pool before a second look at it counts."),
    row("innodb_online_alter_log_max_size", Whole(1, 1_048_576), "MB", Is("128"), Live, "How many changes of a table are kept while its definition is changed."),
    row("innodb_print_all_deadlocks", Switch, "", Is("off"), Live, "Whether deadlocks are logged."),
    row("innodb_rollback_on_timeout", Switch, "", Is("off"), Restart, "Whether a wait for a row that is too long undoes the transaction and not only the statement."),
    row("innodb_stats_persistent_sample_pages", Whole(1, 1_000_000), "", Is("20"), Live, "How many pages of an index are looked at for its statistics."),
    row("innodb_strict_mode", Switch, "", Is("on"), Live, "Whether odd options of a table are errors."),
    row("innodb_thread_concurrency", Whole(0, 1000), "", Is("0"), Live, "How many threads may work at once; 0 for any number."),
    row("innodb_write_io_threads", Whole(1, 64), "", Is("4"), Restart, "How many threads write pages."),
    row("interactive_timeout", Whole(1, YEAR), "s", Is("28800"), Live, "How long an interactive session may be idle before it is ended."),
    row("join_buffer_size", Whole(1, 1_048_576), "kB", Is("256"), Live, "Memory for a join without an index."),
    row("lock_wait_timeout", Whole(1, YEAR), "s", Is("31536000"), Live, "How long a statement waits for the definition of a table."),
    row("lower_case_table_names", Whole(0, 1), "", Is("0"), Init, "How names of tables and databases are kept: 0 as they are written, 1 in lower case."),
    row("max_allowed_packet", Whole(1, 1024), "MB", Is("64"), Live, "Longest statement or row."),
    row("max_connections", Whole(10, 4000), "", Sized, Live, "How many clients may be connected at once."),
    row("max_error_count", Whole(0, 65_535), "", Is("1024"), Live, "How many errors, warnings and notes of a statement are kept."),
    row("max_execution_time", Whole(0, MOST), "ms", Is("0"), Live, "How long a SELECT may take; 0 for ever."),
    row("max_heap_table_size", Whole(1, 1_048_576), "MB", Is("16"), Live, "Largest table in memory."),
    row("max_prepared_stmt_count", Whole(0, 4_194_304), "", Is("16382"), Live, "How many statements may be prepared at once."),
    row("max_sort_length", Whole(4, 8_388_608), "", Is("1024"), Live, "How many bytes of a value count when it is sorted."),
    row("max_user_connections", Whole(0, MOST), "", Is("0"), Live, "How often one user may be connected at once; 0 for any number."),
    row("net_read_timeout", Whole(1, YEAR), "s", Is("30"), Live, "How long the server waits for more of what a client sends."),
    row("net_write_timeout", Whole(1, YEAR), "s", Is("60"), Live, "How long the server waits for a client to take what it is sent."),
    row("optimizer_search_depth", Whole(0, 62), "", Is("62"), Live, "How far the optimizer looks ahead in a join; 0 has it choose."),
    row("performance_schema", Switch, "", Sized, Restart, "Whether the server keeps books of what it does, which takes memory."),
    row("range_optimizer_max_mem_size", Whole(0, 4_194_304), "kB", Is("8192"), Live, "Memory for finding the ranges of a condition; 0 for any amount."),
    row("read_buffer_size", Whole(8, 2_097_152), "kB", Is("128"), Live, "Memory for reading a table of MyISAM from end to end."),
    row("read_rnd_buffer_size", Whole(1, 2_097_152), "kB", Is("256"), Live, "Memory for reading rows in the order of an index."),
    row("sort_buffer_size", Whole(32, 1_048_576), "kB", Is("256"), Live, "Memory for a sort before it goes to storage."),
    row("sql_mode", Words("ALLOW_INVALID_DATES|ANSI_QUOTES|ERROR_FOR_DIVISION_BY_ZERO|HIGH_NOT_PRECEDENCE|IGNORE_SPACE|NO_AUTO_VALUE_ON_ZERO|NO_BACKSLASH_ESCAPES|NO_DIR_IN_CREATE|NO_ENGINE_SUBSTITUTION|NO_UNSIGNED_SUBTRACTION|NO_ZERO_DATE|NO_ZERO_IN_DATE|ONLY_FULL_GROUP_BY|PAD_CHAR_TO_FULL_LENGTH|PIPES_AS_CONCAT|REAL_AS_FLOAT|STRICT_ALL_TABLES|STRICT_TRANS_TABLES|TIME_TRUNCATE_FRACTIONAL"), "", Is("ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION"), Live, "How strict SQL is, and in what dialect."),
    row("sql_require_primary_key", Switch, "", Is("off"), Live, "Whether every new table must have a primary key."),
    row("temptable_max_ram", Whole(2, 1_048_576), "MB", Sized, Live, "Memory for temporary tables of all sessions before they go to storage."),
    row("tmp_table_size", Whole(1, 1_048_576), "MB", Is("16"), Live, "Largest temporary table in memory."),
    row("transaction_isolation", Word("READ-UNCOMMITTED|READ-COMMITTED|REPEATABLE-READ|SERIALIZABLE"), "", Is("REPEATABLE-READ"), Live, "Isolation of transactions that do not say theirs."),
    row("wait_timeout", Whole(1, YEAR), "s", Is("28800"), Live, "How long a session may be idle before it is ended."),
] };

#[cfg(test)]
mod tests {
    use berth_sdk::engine::SettingType;

    use super::*;
    use crate::catalog::SERIES;
    use crate::settings::schemas;

    #[test]
    fn every_series_offers_many_and_nothing_dangerous() {
        for series in SERIES {
            let schemas = schemas(series);
            assert!(schemas.len() >= 30, "{series:?}: {}", schemas.len());
            let names: Vec<_> = schemas.iter().map(|s| s.name.clone()).collect();
            assert!(names.is_sorted(), "{names:?}");
            for schema in schemas {
                let name = schema.name;
                assert!(!schema.default_value.is_empty(), "{name}");
                assert!(schema.description.ends_with('.'), "{name}");
                // What a host takes.
                if let SettingType::Text(Some(pattern)) = &schema.type_ {
                    assert!(pattern.len() <= 512, "{name}: {}", pattern.len());
                }
                for part in [
                    "dir",
                    "file",
                    "ssl",
                    "tls",
                    "plugin_load",
                    "socket",
                    "address",
                    "port",
                    "flush",
                    "log_bin",
                    "general_log",
                    "slow",
                    "secure",
                    "read_only",
                    "offline",
                    "init_",
                    "partial",
                    "sync",
                    "double",
                ] {
                    let harmless = name == "innodb_max_dirty_pages_pct";
                    assert!(harmless || !name.contains(part), "{name}: {part}");
                }
            }
        }
        assert!(TABLE.find("authentication_policy", V8_0).is_none());
        assert!(TABLE.find("default_authentication_plugin", V8_4).is_none());
        let policy = |version| TABLE.find("authentication_policy", version).unwrap();
        assert!(!policy(V8_4).is_live(V8_4) && policy(V9_7).is_live(V9_7));
    }

    #[test]
    fn defaults_are_those_of_the_series() {
        let of = |series| {
            let all = schemas(series);
            let it = all.iter().find(|s| s.name == "innodb_adaptive_hash_index");
            it.unwrap().default_value.clone()
        };
        assert_eq!(of(Series::V8_0), "on");
        assert_eq!(of(Series::V8_4), "off");
    }
}

//! Temporary objects are their session's: no permission is told by them, none that stays or rises breaks them, and they
//! keep nobody from being removed. One that is lowered ends the session, and them with it.

use berth_plugin_postgresql::PostgreSql;
use berth_sdk::engine::users::{Permission, Users};
use berth_sdk::types::Error;

use crate::held::Held;
use crate::server::Server;

const PASSWORD: &str = "S3cret!pw";

pub fn live(version: &str, server: &Server) {
    let it = || server.instance.clone();
    PostgreSql::create_database(it(), "passing".into()).expect("a database");
    for user in ["temp", "guest"] {
        PostgreSql::create_user(it(), user.into(), PASSWORD.into(), false).expect("a user");
    }
    set(server, "temp", Permission::Readwrite).expect("a privilege");
    let mut session = hold(server);
    assert_eq!(read(server, "temp"), Permission::Readwrite, "{version}");
    for (permission, stays) in [
        (Permission::Readwrite, true),
        (Permission::Readonly, false),
        (Permission::All, true),
        (Permission::All, true),
        (Permission::Readwrite, false),
        (Permission::All, true),
    ] {
        set(server, "temp", permission).expect("a privilege");
        if !stays {
            ended(&mut session, version);
            session = hold(server);
        }
        assert_eq!(read(server, "temp"), permission, "{version}");
        works(&mut session, version);
    }
    all_kinds(version, server, &mut session);
    let mut session = hold(server);
    extension(version, server, &mut session);

    // Shared by those who cannot look at each other's.
    let mut session = hold(server);
    let shared = session.ask(
        "GRANT ALL ON own TO guest; GRANT SELECT (x) ON seen TO guest; \
         GRANT EXECUTE ON FUNCTION pg_temp.two() TO guest",
    );
    assert_eq!(shared, "");
    set(server, "guest", Permission::Readonly).expect("a privilege");
    assert_eq!(read(server, "guest"), Permission::Readonly, "{version}");
    let mut other = Held::open(&server.program("psql"), &server.inside("passing"));
    assert_eq!(
        other.ask("SET ROLE guest; CREATE TEMPORARY TABLE theirs (x int)"),
        ""
    );
    PostgreSql::delete_user(it(), "guest".into()).expect("a removal");
    works(&mut session, version);

    PostgreSql::delete_user(it(), "temp".into()).expect("a removal");
    ended(&mut session, version);
    PostgreSql::delete_database(it(), "passing".into()).expect("a removal");
}

fn works(session: &mut Held, version: &str) {
    let used = session.ask(
        "INSERT INTO own (x) VALUES (2); SELECT pg_temp.two() = max(x) FROM seen; TRUNCATE own",
    );
    assert_eq!(used, "t", "{version}");
}

fn ended(session: &mut Held, version: &str) {
    let ended = session.ask("SELECT 1");
    assert!(
        ended.contains("terminating connection"),
        "{version}: {ended}"
    );
}

/// Everything that can be owned goes to the database's owner, but for what is temporary.
fn all_kinds(version: &str, server: &Server, session: &mut Held) {
    server.ask(
        "passing",
        "CREATE FOREIGN DATA WRAPPER \"a wrapper\"; GRANT USAGE ON FOREIGN DATA WRAPPER \"a wrapper\" TO temp; \
         CREATE OPERATOR FAMILY family USING btree; ALTER OPERATOR FAMILY family USING btree OWNER TO temp; \
         CREATE OPERATOR CLASS class FOR TYPE int4 USING btree FAMILY family AS OPERATOR 1 <; \
         ALTER OPERATOR CLASS class USING btree OWNER TO temp",
    );
    let made = session.ask(
        "SET client_min_messages = error; CREATE SCHEMA \"a \"\"schema\"; CREATE TABLE \"a \"\"schema\".\"a table\" \
           (id serial, x int, y int GENERATED ALWAYS AS IDENTITY); \
         CREATE TABLE parts (x int) PARTITION BY LIST (x); CREATE TABLE part PARTITION OF parts DEFAULT; \
         CREATE VIEW a_view AS SELECT 1; CREATE MATERIALIZED VIEW a_matview AS SELECT 1 AS x; CREATE SEQUENCE a_sequence; \
         CREATE TYPE a_row AS (x int); CREATE TYPE an_enum AS ENUM ('a'); CREATE DOMAIN a_domain AS int; \
         CREATE TYPE a_range AS RANGE (subtype = float8); \
         CREATE FUNCTION a_function(int, \"a \"\"schema\".\"a table\") RETURNS int LANGUAGE sql AS 'SELECT 1'; \
         CREATE FUNCTION step(int) RETURNS int LANGUAGE sql AS 'SELECT 1'; \
         CREATE PROCEDURE a_procedure() LANGUAGE sql AS 'SELECT 1'; \
         CREATE AGGREGATE an_aggregate(*) (sfunc = step, stype = int, initcond = '0'); \
         CREATE OPERATOR ### (leftarg = int, rightarg = int, procedure = int4pl); \
         CREATE COLLATION a_collation FROM \"C\"; \
         CREATE CONVERSION a_conversion FOR 'UTF8' TO 'LATIN1' FROM utf8_to_iso8859_1; \
         CREATE TEXT SEARCH DICTIONARY a_dictionary (template = simple); \
         CREATE TEXT SEARCH CONFIGURATION a_configuration (copy = english); \
         CREATE STATISTICS a_statistic ON x, y FROM \"a \"\"schema\".\"a table\"; \
         CREATE SERVER a_server FOREIGN DATA WRAPPER \"a wrapper\"; CREATE FOREIGN TABLE a_foreign (x int) SERVER a_server; \
         CREATE USER MAPPING FOR temp SERVER a_server; CREATE PUBLICATION a_publication FOR TABLE parts; \
         ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO guest; DO 'BEGIN PERFORM lo_create(4711); END'",
    );
    assert_eq!(made, "", "{version}");
    let owned = "SELECT string_agg(i.type, ' ' ORDER BY i.type) FROM pg_shdepend s, \
         pg_identify_object(s.classid, s.objid, s.objsubid) i WHERE s.refobjid = to_regrole('temp') \
         AND s.refclassid = 'pg_authid'::regclass AND s.deptype = 'o' \
         AND s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) \
         AND coalesce(i.schema !~ '^pg_temp', true)";
    assert!(server.ask("passing", owned).contains("text search"));
    set(server, "temp", Permission::Readonly).expect("a privilege");
    assert_eq!(
        server.ask("passing", owned),
        "default acl user mapping",
        "{version}"
    );
    ended(session, version);
    set(server, "temp", Permission::All).expect("a privilege");
}

/// There is no word that gives away an extension alone.
fn extension(version: &str, server: &Server, session: &mut Held) {
    assert_eq!(session.ask("CREATE EXTENSION hstore"), "", "{version}");
    server.ask("postgres", "CREATE DATABASE its_own OWNER temp");
    let refused = set(server, "temp", Permission::Readonly);
    let Err(Error::Conflict(reason)) = refused else {
        panic!("{version}: {refused:?}");
    };
    assert!(reason.contains("extension hstore"), "{reason}");
    works(session, version);
    assert_eq!(read(server, "temp"), Permission::All, "nothing has changed");
    server.ask(
        "postgres",
        "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE usename = 'temp'",
    );
    set(server, "temp", Permission::Readonly).expect("a privilege");
    let owner = "SELECT pg_get_userbyid(extowner) FROM pg_extension WHERE extname = 'hstore'";
    assert_eq!(server.ask("passing", owner), "_rdb_superadmin");
    let owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'its_own'";
    assert_eq!(server.ask("passing", owner), "temp");
    server.ask("postgres", "DROP DATABASE its_own");
}

/// With what is temporary of each kind.
fn hold(server: &Server) -> Held {
    let uri = server.uri_in("temp", PASSWORD, "passing");
    let mut session = Held::open(&server.program("psql"), &uri);
    let made = session.ask(
        "CREATE TEMPORARY TABLE own (id serial, x int); CREATE TEMPORARY VIEW seen AS SELECT * FROM own; \
         CREATE FUNCTION pg_temp.two() RETURNS int LANGUAGE sql AS 'SELECT 2'; CREATE TYPE pg_temp.kind AS ENUM ('a')",
    );
    assert_eq!(made, "");
    session
}

fn set(server: &Server, user: &str, permission: Permission) -> Result<(), Error> {
    let it = server.instance.clone();
    PostgreSql::set_privilege(it, user.into(), "passing".into(), permission).map(drop)
}

fn read(server: &Server, user: &str) -> Permission {
    let it = server.instance.clone();
    let found = PostgreSql::list_privileges(it, Some(user.into()), Some("passing".into()));
    found.expect("a list")[0].permission
}

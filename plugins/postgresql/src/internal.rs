//! What Berth keeps inside a server for users and their permissions: roles that nobody logs in as, and in each managed
//! database a trigger that shares what is made later. See decision 24.
//!
//! - `_rdb_superadmin` owns the managed databases; whoever is a member of it is an admin.
//! - `_rdb_<oid>_readonly`, `_readwrite` and `_all`, for each managed database by its number: a user's permission is
//!   the one of them that it is a member of. All of what is in the database was granted to them, and what is made
//!   later is, by the trigger, whoever makes it: default privileges would have to be set for each maker.

use berth_sdk::engine::users::Permission;
use berth_sdk::{Error, Result};

use crate::session::{Session, text};

/// Owner of all managed databases.
pub const SUPERADMIN: &str = "_rdb_superadmin";

/// Begins a transaction that changes roles: one of ours at a time, in whichever database it runs. It keeps nobody
/// else from anything.
pub const BEGIN: &str =
    "BEGIN; LOCK TABLE pg_catalog.pg_auth_members IN SHARE UPDATE EXCLUSIVE MODE";

/// The role of a permission in the database of this number; none where no role is needed for it.
pub fn group(database: &str, permission: Permission) -> Option<String> {
    let level = match permission {
        Permission::Readonly => "readonly",
        Permission::Readwrite => "readwrite",
        Permission::All => "all",
        Permission::Custom | Permission::None => return None,
    };
    Some(format!("_rdb_{database}_{level}"))
}

/// See that the role of the admins is there.
pub async fn make_superadmin(session: &Session) -> Result<()> {
    session
        .run("making the role of admins", MAKE_SUPERADMIN)
        .await
}

/// Make a database one whose permissions can be set. The session is one of the superuser in it; nobody else should be
/// there yet. Bears repetition. Answers the database's number.
pub async fn equip(session: &Session) -> Result<String> {
    session.run("preparing the database", EQUIP).await?;
    session.run("preparing the database", SHARE).await?;
    number(session).await
}

/// The number of the session's database.
pub async fn number(session: &Session) -> Result<String> {
    let sql = "SELECT oid FROM pg_database WHERE datname = current_database()";
    let row = session.row("looking at the database", sql).await?;
    let row = row.ok_or_else(|| Error::failed("the database has no number"))?;
    Ok(text(&row, "oid")?.to_owned())
}

/// Remove the roles of databases that are no more. Ours for databases that are being made are spared: they come
/// after their database.
pub async fn sweep(session: &Session) -> Result<()> {
    session
        .run("removing roles of removed databases", SWEEP)
        .await
}

const MAKE_SUPERADMIN: &str = "DO $do$ BEGIN
  LOCK TABLE pg_catalog.pg_auth_members IN SHARE UPDATE EXCLUSIVE MODE;
  IF to_regrole('_rdb_superadmin') IS NULL THEN
    CREATE ROLE _rdb_superadmin NOLOGIN;
  END IF;
END $do$";

/// A role that somebody else made under such a name is not taken for ours.
const EQUIP: &str = "DO $do$
DECLARE
  here pg_catalog.pg_database;
  base text; ro text; rw text; everything text; made text; space name;
BEGIN
  LOCK TABLE pg_catalog.pg_auth_members IN SHARE UPDATE EXCLUSIVE MODE;
  SELECT * INTO STRICT here FROM pg_catalog.pg_database WHERE datname = current_database();
  base := '_rdb_' || here.oid || '_';
  ro := quote_ident(base || 'readonly');
  rw := quote_ident(base || 'readwrite');
  everything := quote_ident(base || 'all');
  FOREACH made IN ARRAY ARRAY[ro, rw, everything] LOOP
    IF to_regrole(made) IS NULL THEN
      EXECUTE format('CREATE ROLE %s NOLOGIN', made);
    ELSIF EXISTS (SELECT FROM pg_catalog.pg_authid r WHERE r.oid = to_regrole(made)::oid AND (r.rolcanlogin
        OR EXISTS (SELECT FROM pg_catalog.pg_auth_members m WHERE m.roleid = r.oid AND m.admin_option))) THEN
      RAISE EXCEPTION 'the role % is somebody''s already', made USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
  END LOOP;
  EXECUTE format('GRANT %s TO _rdb_superadmin', everything);
  EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', here.datname);
  EXECUTE format('GRANT CONNECT, TEMPORARY ON DATABASE %I TO %s, %s', here.datname, ro, rw);
  EXECUTE format('GRANT ALL ON DATABASE %I TO %s', here.datname, everything);
  FOR space IN SELECT nspname FROM pg_catalog.pg_namespace
      WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', '_rdb') LOOP
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO %s, %s', space, ro, rw);
    EXECUTE format('GRANT ALL ON SCHEMA %I TO %s', space, everything);
    EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA %I TO %s', space, ro);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA %I TO %s', space, rw);
    EXECUTE format('GRANT ALL ON ALL TABLES IN SCHEMA %I TO %s', space, everything);
    EXECUTE format('GRANT SELECT ON ALL SEQUENCES IN SCHEMA %I TO %s', space, ro);
    EXECUTE format('GRANT ALL ON ALL SEQUENCES IN SCHEMA %I TO %s, %s', space, rw, everything);
  END LOOP;
END $do$";

/// The function runs as the superuser in the middle of whatever its caller does: it calls nothing that the caller
/// could have made, and does nothing but grant on what was just made.
const SHARE: &str = "CREATE SCHEMA IF NOT EXISTS _rdb;
ALTER SCHEMA _rdb OWNER TO CURRENT_USER;
REVOKE ALL ON SCHEMA _rdb FROM PUBLIC;
DROP EVENT TRIGGER IF EXISTS _rdb_share;
DROP FUNCTION IF EXISTS _rdb.share();
CREATE FUNCTION _rdb.share() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
  base text := '_rdb_' || (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()) || '_';
  ro text := quote_ident(base || 'readonly');
  rw text := quote_ident(base || 'readwrite');
  everything text := quote_ident(base || 'all');
  made record;
BEGIN
  -- A copy of a managed database is not one itself.
  IF to_regrole(ro) IS NULL OR to_regrole(rw) IS NULL OR to_regrole(everything) IS NULL THEN
    RETURN;
  END IF;
  FOR made IN
    SELECT DISTINCT d.objid, c.relkind, n.nspname
    FROM pg_catalog.pg_event_trigger_ddl_commands() d
    LEFT JOIN pg_catalog.pg_class c ON d.classid = 'pg_catalog.pg_class'::regclass AND c.oid = d.objid
    LEFT JOIN pg_catalog.pg_namespace n ON d.classid = 'pg_catalog.pg_namespace'::regclass AND n.oid = d.objid
    WHERE d.command_tag IN ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO', 'CREATE VIEW',
        'CREATE MATERIALIZED VIEW', 'CREATE FOREIGN TABLE', 'CREATE SEQUENCE', 'CREATE SCHEMA')
      AND (n.oid IS NOT NULL OR (c.relpersistence <> 't' AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')))
  LOOP
    IF made.nspname IS NOT NULL THEN
      EXECUTE format('GRANT USAGE ON SCHEMA %I TO %s, %s', made.nspname, ro, rw);
      EXECUTE format('GRANT ALL ON SCHEMA %I TO %s', made.nspname, everything);
    ELSIF made.relkind = 'S' THEN
      EXECUTE format('GRANT SELECT ON SEQUENCE %s TO %s', made.objid::regclass, ro);
      EXECUTE format('GRANT ALL ON SEQUENCE %s TO %s, %s', made.objid::regclass, rw, everything);
    ELSE
      EXECUTE format('GRANT SELECT ON TABLE %s TO %s', made.objid::regclass, ro);
      EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE %s TO %s', made.objid::regclass, rw);
      EXECUTE format('GRANT ALL ON TABLE %s TO %s', made.objid::regclass, everything);
    END IF;
  END LOOP;
END $body$;
REVOKE ALL ON FUNCTION _rdb.share() FROM PUBLIC;
CREATE EVENT TRIGGER _rdb_share ON ddl_command_end
WHEN TAG IN ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO', 'CREATE VIEW', 'CREATE MATERIALIZED VIEW',
    'CREATE FOREIGN TABLE', 'IMPORT FOREIGN SCHEMA', 'CREATE SEQUENCE', 'CREATE SCHEMA', 'CREATE EXTENSION', 'ALTER TABLE')
EXECUTE FUNCTION _rdb.share();
ALTER EVENT TRIGGER _rdb_share ENABLE ALWAYS";

const SWEEP: &str = "DO $do$
DECLARE made name;
BEGIN
  LOCK TABLE pg_catalog.pg_auth_members IN SHARE UPDATE EXCLUSIVE MODE;
  FOR made IN SELECT rolname FROM pg_catalog.pg_roles
      WHERE rolname ~ '^_rdb_[0-9]+_(readonly|readwrite|all)$' AND NOT rolcanlogin
      AND split_part(rolname, '_', 3) NOT IN (SELECT oid::text FROM pg_catalog.pg_database) LOOP
    BEGIN
      EXECUTE format('DROP ROLE %I', made);
    EXCEPTION WHEN dependent_objects_still_exist THEN
      NULL; -- Somebody granted it something elsewhere: it stays, and harms nobody.
    END;
  END LOOP;
END $do$";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permission_is_a_role() {
        let name = |permission| group("16384", permission);
        assert_eq!(name(Permission::Readonly).unwrap(), "_rdb_16384_readonly");
        assert_eq!(name(Permission::All).unwrap(), "_rdb_16384_all");
        assert_eq!(name(Permission::None), None);
        assert!(SUPERADMIN.starts_with(berth_sdk::names::RESERVED));
    }
}

//! The two questions about privileges that take more than a line of SQL. Both are asked in the database that they are
//! about, with the server's own functions alone in reach.

use postgres_protocol::escape::escape_literal;

use crate::users;

/// What each user may do, or this one. One of `readonly`, `readwrite`, `all`, `custom` and `none`.
pub fn permissions(user: Option<&str>) -> String {
    let one = user.map_or_else(String::new, |name| {
        format!("AND rolname = {}", escape_literal(name))
    });
    format!(
        "WITH {HERE}, {LASTING}, {WIDENED}, {WHOLE}, {GIVEN} \
         SELECT u.rolname, CASE \
           WHEN m.levels = '{{}}' AND pg_has_role(u.oid, h.datdba, 'USAGE') THEN 'all' \
           WHEN 'all' = ANY (m.levels) THEN CASE WHEN 'all' = ANY (m.inherited) THEN 'all' ELSE 'custom' END \
           WHEN m.extra OR cardinality(m.levels) > 1 THEN 'custom' \
           WHEN cardinality(m.levels) = 1 THEN coalesce(m.inherited[1], 'custom') \
           WHEN has_database_privilege(u.oid, h.oid, 'CONNECT') \
             AND EXISTS (SELECT FROM given WHERE grantee = 0) THEN 'custom' \
           ELSE 'none' END AS permission \
         FROM here h, (SELECT oid, rolname FROM pg_roles WHERE {listed} {one}) u, \
         LATERAL (SELECT \
           ARRAY(SELECT level FROM levels WHERE pg_has_role(u.oid, role, 'MEMBER')) AS levels, \
           ARRAY(SELECT level FROM levels WHERE whole AND pg_has_role(u.oid, role, 'USAGE')) AS inherited, \
           EXISTS (SELECT FROM given WHERE grantee <> 0 AND pg_has_role(u.oid, grantee, 'MEMBER')) AS extra) m \
         ORDER BY u.rolname",
        listed = users::are_listed(),
    )
}

/// What was granted to a user by name in this database: who granted it, as SQL names a role, and what revokes it. What
/// is temporary passes by itself, and nobody but its session gets at it.
pub fn granted_to(user: &str) -> String {
    let user = escape_literal(user);
    format!(
        "WITH {LASTING}, it AS (SELECT oid, quote_ident(rolname) AS name FROM pg_roles WHERE rolname = {user}), \
         objects (what, owner, acl) AS ( \
           SELECT format('%s %s', CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, oid::regclass), relowner, relacl \
             FROM pg_class WHERE relacl IS NOT NULL AND relpersistence <> 't' \
           UNION ALL SELECT format('TABLE %s', c.oid::regclass), c.relowner, a.attacl FROM pg_attribute a \
             JOIN pg_class c ON c.oid = a.attrelid WHERE a.attacl IS NOT NULL AND c.relpersistence <> 't' \
           UNION ALL SELECT format('SCHEMA %I', nspname), nspowner, nspacl FROM pg_namespace \
           UNION ALL SELECT format('ROUTINE %s', oid::regprocedure), proowner, proacl FROM routines WHERE proacl IS NOT NULL \
           UNION ALL SELECT format('TYPE %s', oid::regtype), typowner, typacl FROM types WHERE typacl IS NOT NULL \
           UNION ALL SELECT format('LANGUAGE %I', lanname), lanowner, lanacl FROM pg_language \
           UNION ALL SELECT format('FOREIGN DATA WRAPPER %I', fdwname), fdwowner, fdwacl FROM pg_foreign_data_wrapper \
           UNION ALL SELECT format('FOREIGN SERVER %I', srvname), srvowner, srvacl FROM pg_foreign_server \
           UNION ALL SELECT format('LARGE OBJECT %s', oid), lomowner, lomacl FROM pg_largeobject_metadata \
           UNION ALL SELECT format('DATABASE %I', datname), datdba, datacl FROM pg_database \
             WHERE datname = current_database()) \
         SELECT DISTINCT quote_ident(pg_get_userbyid(a.grantor)) AS grantor, \
           format('REVOKE ALL ON %s FROM %s CASCADE', o.what, it.name) AS statement \
         FROM it, objects o, aclexplode(o.acl) a WHERE a.grantee = it.oid AND o.owner <> it.oid \
         UNION SELECT quote_ident(pg_get_userbyid(d.defaclrole)), \
           format('ALTER DEFAULT PRIVILEGES %s REVOKE ALL ON %s FROM %s', \
             CASE WHEN n.oid IS NOT NULL THEN format('IN SCHEMA %I', n.nspname) END, \
             CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'ROUTINES' \
               WHEN 'T' THEN 'TYPES' WHEN 'n' THEN 'SCHEMAS' ELSE 'LARGE OBJECTS' END, it.name) \
         FROM it, pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace, aclexplode(d.defaclacl) a \
         WHERE a.grantee = it.oid AND d.defaclrole <> it.oid \
         ORDER BY 1, 2"
    )
}

/// Functions and types that are not a session's own.
const LASTING: &str = "lasting AS (SELECT oid FROM pg_namespace WHERE nspname !~ '^pg_temp_'), \
    routines AS (SELECT p.oid, p.proowner, p.proacl FROM pg_proc p JOIN lasting n ON n.oid = p.pronamespace), \
    types AS (SELECT t.oid, t.typowner, t.typacl FROM pg_type t JOIN lasting n ON n.oid = t.typnamespace)";

/// The database, the callers' schemas and what is in them. What came with an extension may be shared with everybody
/// by the extension itself.
const HERE: &str = "here AS (SELECT oid, datdba, datacl, CASE \
        WHEN current_setting('server_version_num')::int >= 170000 THEN 'MAINTAIN' ELSE 'TRIGGER' END AS upkeep \
      FROM pg_database WHERE datname = current_database()), \
    spaces AS (SELECT oid, nspowner, nspacl FROM pg_namespace \
      WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', '_rdb')), \
    relations AS (SELECT c.oid, c.relkind, c.relowner, c.relacl, EXISTS (SELECT FROM pg_depend e \
        WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e') AS extension \
      FROM pg_class c JOIN spaces n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S'))";

/// What the questions about whole tables, schemas and databases do not see: rights on columns and on large objects, and
/// rights to grant on. 0 is everybody.
const WIDENED: &str = "widened AS (SELECT a.grantee, a.privilege_type, a.is_grantable FROM relations c \
        JOIN pg_attribute t ON t.attrelid = c.oid, aclexplode(t.attacl) a \
        WHERE a.grantee <> c.relowner AND NOT (a.grantee = 0 AND c.extension) \
      UNION ALL SELECT a.grantee, a.privilege_type, a.is_grantable \
        FROM pg_largeobject_metadata l, aclexplode(l.lomacl) a WHERE a.grantee <> l.lomowner \
      UNION ALL SELECT a.grantee, NULL, true FROM relations c, aclexplode(c.relacl) a \
        WHERE a.is_grantable AND a.grantee <> c.relowner \
      UNION ALL SELECT a.grantee, NULL, true FROM spaces n, aclexplode(n.nspacl) a \
        WHERE a.is_grantable AND a.grantee <> n.nspowner \
      UNION ALL SELECT a.grantee, NULL, true FROM here h, aclexplode(h.datacl) a \
        WHERE a.is_grantable AND a.grantee <> h.datdba)";

/// The roles of the permissions, and whether each may do all of what its name says, and nothing else.
const WHOLE: &str = "levels AS (SELECT l.level, r.oid AS role, \
      has_database_privilege(r.oid, h.oid, 'CONNECT') \
      AND has_database_privilege(r.oid, h.oid, 'CREATE') = (l.level = 'all') \
      AND NOT EXISTS (SELECT FROM spaces n WHERE NOT has_schema_privilege(r.oid, n.oid, 'USAGE') \
        OR has_schema_privilege(r.oid, n.oid, 'CREATE') <> (l.level = 'all')) \
      AND NOT EXISTS (SELECT FROM relations c WHERE c.relkind = 'S' AND ( \
        NOT has_sequence_privilege(r.oid, c.oid, 'SELECT') \
        OR has_sequence_privilege(r.oid, c.oid, 'USAGE') = (l.level = 'readonly') \
        OR has_sequence_privilege(r.oid, c.oid, 'UPDATE') = (l.level = 'readonly'))) \
      AND NOT EXISTS (SELECT FROM relations c WHERE c.relkind <> 'S' AND ( \
        NOT has_table_privilege(r.oid, c.oid, 'SELECT') \
        OR has_table_privilege(r.oid, c.oid, 'INSERT') = (l.level = 'readonly') \
        OR has_table_privilege(r.oid, c.oid, 'UPDATE') = (l.level = 'readonly') \
        OR has_table_privilege(r.oid, c.oid, 'DELETE') = (l.level = 'readonly') \
        OR has_table_privilege(r.oid, c.oid, 'TRUNCATE') <> (l.level = 'all') \
        OR has_table_privilege(r.oid, c.oid, 'REFERENCES') <> (l.level = 'all') \
        OR has_table_privilege(r.oid, c.oid, 'TRIGGER') <> (l.level = 'all') \
        OR has_table_privilege(r.oid, c.oid, h.upkeep) <> (l.level = 'all'))) \
      AND NOT EXISTS (SELECT FROM widened w WHERE w.grantee IN (0, r.oid) \
        AND (w.is_grantable OR w.privilege_type <> ALL (l.finer))) AS whole \
      FROM here h, (VALUES ('readonly', ARRAY['SELECT']), ('readwrite', ARRAY['SELECT', 'INSERT', 'UPDATE']), \
        ('all', ARRAY['SELECT', 'INSERT', 'UPDATE', 'REFERENCES'])) l (level, finer) \
      JOIN pg_roles r ON r.rolname = format('_rdb_%s_%s', \
        (SELECT oid FROM pg_database WHERE datname = current_database()), l.level))";

/// To whom anything else was granted, and who owns anything; 0 is everybody. What everybody has in every new database
/// is left out, and so are the server's and Berth's own roles.
const GIVEN: &str = "given AS (SELECT grantee FROM ( \
      SELECT a.grantee FROM relations c, aclexplode(c.relacl) a \
        WHERE a.grantee <> c.relowner AND NOT (a.grantee = 0 AND c.extension) \
      UNION SELECT a.grantee FROM relations c JOIN pg_attribute t ON t.attrelid = c.oid, aclexplode(t.attacl) a \
        WHERE a.grantee <> c.relowner AND NOT (a.grantee = 0 AND c.extension) \
      UNION SELECT a.grantee FROM spaces n, aclexplode(n.nspacl) a \
        WHERE a.grantee <> n.nspowner AND (a.grantee <> 0 OR a.privilege_type = 'CREATE') \
      UNION SELECT a.grantee FROM here h, aclexplode(h.datacl) a \
        WHERE a.grantee <> h.datdba AND (a.grantee <> 0 OR a.privilege_type = 'CREATE') \
      UNION SELECT a.grantee FROM routines p, aclexplode(p.proacl) a WHERE a.grantee NOT IN (0, p.proowner) \
      UNION SELECT a.grantee FROM types t, aclexplode(t.typacl) a WHERE a.grantee NOT IN (0, t.typowner) \
      UNION SELECT a.grantee FROM pg_largeobject_metadata l, aclexplode(l.lomacl) a WHERE a.grantee <> l.lomowner \
      UNION SELECT a.grantee FROM pg_default_acl d, aclexplode(d.defaclacl) a WHERE a.grantee NOT IN (0, d.defaclrole) \
      UNION SELECT a.grantee FROM pg_language l, aclexplode(l.lanacl) a WHERE a.grantee NOT IN (0, l.lanowner) \
      UNION SELECT a.grantee FROM pg_foreign_server s, aclexplode(s.srvacl) a WHERE a.grantee NOT IN (0, s.srvowner) \
      UNION SELECT a.grantee FROM pg_foreign_data_wrapper f, aclexplode(f.fdwacl) a \
        WHERE a.grantee NOT IN (0, f.fdwowner) \
      UNION SELECT relowner FROM relations UNION SELECT nspowner FROM spaces \
      UNION SELECT proowner FROM routines UNION SELECT typowner FROM types \
      UNION SELECT lomowner FROM pg_largeobject_metadata UNION SELECT srvowner FROM pg_foreign_server) g \
    WHERE (grantee = 0 OR grantee >= 16384) AND grantee NOT IN (SELECT role FROM levels) \
      AND grantee <> coalesce(to_regrole('_rdb_superadmin')::oid, 1))";

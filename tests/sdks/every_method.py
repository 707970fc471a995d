"""Every method of the client, unmodified, against a running Berth with a real server behind it: those that are there take
effect, which is seen from outside with psql; the others are refused by name, and their lists are empty.

`tests/it/rdb.rs` runs it, with what it needs in the environment.
"""

import base64
import datetime
import os
import subprocess
import sys
import tempfile
import time
import uuid

from scaleway import Client, ScalewayException
from scaleway.rdb.v1 import (
    ACLRuleRequest,
    EndpointSpec,
    EndpointSpecLoadBalancer,
    EndpointSpecPrivateNetwork,
    EndpointSpecPrivateNetworkIpamConfig,
    InstanceSetting,
    LogsPolicy,
    RdbV1API,
    ReadReplicaEndpointSpec,
    ReadReplicaEndpointSpecDirectAccess,
)

NOBODY = str(uuid.uuid4())
PASSWORD = "S3cret!pw"


class Recorded:
    """The client's API, with a book of what was called."""

    def __init__(self, api):
        self.api, self.called = api, set()

    def __getattr__(self, name):
        method = getattr(self.api, name)
        self.called.add(name)
        return method


def client(**more):
    given = dict(
        access_key=os.environ["BERTH_ACCESS_KEY"],
        secret_key=os.environ["BERTH_SECRET_KEY"],
        api_url=os.environ["BERTH_URL"],
        api_allow_insecure=True,
        default_region="fr-par",
        default_project_id=os.environ["BERTH_PROJECT"],
        default_organization_id=os.environ["BERTH_ORGANIZATION"],
    )
    return Client(**{**given, **more})


api = Recorded(RdbV1API(client()))


def refused(kind, call):
    """The body of a refusal of this type."""
    try:
        call()
    except ScalewayException as refusal:
        body = refusal.response.json()
        assert body["type"] == kind, body
        assert refusal.response.headers["content-type"] == "application/json"
        return body
    raise AssertionError(f"not refused: {kind}")


def arguments(call):
    return [detail["argument_name"] for detail in refused("invalid_arguments", call)["details"]]


def psql(user, database, sql, password=PASSWORD, ca=None):
    """What the server says to who trusts this certificate and no other."""
    endpoint = api.api.get_instance(instance_id=instance.id).endpoints[0]
    environment = {
        **os.environ,
        "PGHOST": endpoint.ip,
        "PGPORT": str(endpoint.port),
        "PGUSER": user,
        "PGPASSWORD": password,
        "PGDATABASE": database,
        "PGSSLMODE": "verify-full",
        "PGSSLROOTCERT": ca or authority,
        "PGCONNECT_TIMEOUT": "10",
    }
    done = subprocess.run(
        [os.environ["PSQL"], "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise PermissionError(done.stderr)
    return done.stdout.strip()


def denied(*args, **more):
    try:
        psql(*args, **more)
    except PermissionError as why:
        return str(why)
    raise AssertionError(f"not denied: {args}")


def until(what, holds, seconds=60):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not {what}"
        time.sleep(0.1)


def ready():
    shown = api.wait_for_instance(instance_id=instance.id)
    assert shown.status == "ready", shown.status
    return shown


def certificate(path):
    file = api.get_instance_certificate(instance_id=instance.id)
    assert file.content_type == "application/x-pem-file"
    with open(path, "wb") as out:
        out.write(base64.b64decode(file.content))
    return path


def step(words):
    print(words, flush=True)


step("the catalogue")
engines = api.list_database_engines(name="PostgreSQL")
assert engines.total_count == 1
names = [e.name for e in api.list_database_engines_all()]
assert "PostgreSQL" in names and len(names) == len(set(names)), names
offered = [v for v in engines.engines[0].versions if not v.disabled and not v.beta]
version = offered[0]
assert version.name == f"PostgreSQL-{version.version}"
assert len(version.available_settings) >= 40, len(version.available_settings)
kinds = {str(setting.property_type).upper() for setting in version.available_settings}
assert kinds <= {"BOOLEAN", "INT", "STRING", "FLOAT"}, kinds
nodes = api.list_node_types(include_disabled_types=True)
listed = api.list_node_types_all(include_disabled_types=False, page_size=7)
assert len(listed) == nodes.total_count - 1, "one is disabled"
dev = next(node for node in listed if node.name == "db-dev-s")
assert (dev.vcpus, dev.memory) == (2, 2_000_000_000)
assert dev.available_volume_types[0].max_size == 5_000_000_000

step("an instance")
wanted = dict(
    engine=version.name,
    user_name="boss",
    password=PASSWORD,
    node_type="db-dev-s",
    is_ha_cluster=False,
    disable_backup=False,
    volume_size=0,
    backup_same_region=False,
)
instance = api.create_instance(
    **wanted,
    name="sdk",
    tags=["env:dev", "a b"],
    init_endpoints=[EndpointSpec(load_balancer=EndpointSpecLoadBalancer())],
)
assert instance.status in ("provisioning", "initializing"), instance.status
assert refused("already_exists", lambda: api.create_instance(**wanted, name="sdk"))
shown = ready()
assert shown.engine == version.name and shown.node_type == "db-dev-s"
assert shown.volume.size == 5_000_000_000 and shown.volume.type_ == "lssd"
assert shown.endpoint == shown.endpoints[0] and shown.endpoint.load_balancer is not None
assert shown.tags == ["env:dev", "a b"] and shown.created_at is not None
assert shown.backup_schedule.frequency == 24 and shown.logs_policy.max_age_retention == 30
assert api.get_endpoint(endpoint_id=shown.endpoint.id) == shown.endpoint
found = api.list_instances(tags=["env:dev", "a b"], name="sdk", order_by="status_desc", has_maintenances=False)
assert [one.id for one in found.instances] == [instance.id] and found.total_count == 1
assert api.list_instances(tags=["env:dev", "none"]).total_count == 0
assert [one.id for one in api.list_instances_all()] == [instance.id]
assert len(api.list_instances_all(page_size=1)) == 1

step("its certificate")
folder = tempfile.mkdtemp()
authority = certificate(f"{folder}/ca.pem")
assert psql("boss", "sdk", "select current_user") == "boss"
assert psql("boss", "sdk", "select rolsuper or rolreplication from pg_roles where rolname = current_user") == "f"

step("changes of it")
changed = api.update_instance(
    instance_id=instance.id,
    name="sdk-2",
    tags=[],
    backup_schedule_frequency=12,
    backup_schedule_retention=3,
    is_backup_schedule_disabled=True,
    backup_schedule_start_hour=4,
    backup_same_region=True,
    logs_policy=LogsPolicy(max_age_retention=7),
)
assert (changed.name, changed.tags, changed.backup_same_region) == ("sdk-2", [], True)
assert (changed.backup_schedule.frequency, changed.backup_schedule.disabled) == (12, True)
assert changed.logs_policy.max_age_retention == 7
assert psql("boss", "sdk", "select 1") == "1", "its database keeps its name"
assert api.restart_instance(instance_id=instance.id).status == "restarting"
transient = refused("transient_state", lambda: api.renew_instance_certificate(instance_id=instance.id))
assert transient["current_state"] == "restarting", transient
ready()

step("users")
for name, admin in (("bob$-x", False), ("carol", True), ("dave", False)):
    made = api.create_user(instance_id=instance.id, name=name, password=PASSWORD, is_admin=admin)
    assert (made.name, made.is_admin) == (name, admin)
exists = refused(
    "already_exists",
    lambda: api.create_user(instance_id=instance.id, name="dave", password=PASSWORD, is_admin=False),
)
assert (exists["resource"], exists["resource_id"]) == ("user", "dave")
for name, password, expected in (
    ("_rdb_x", PASSWORD, ["name"]),
    ("pg_x", PASSWORD, ["name"]),
    ("9lives", "weak", ["name", "password"]),
    ("x" * 64, PASSWORD, ["name"]),
):
    found = arguments(
        lambda: api.create_user(instance_id=instance.id, name=name, password=password, is_admin=False)
    )
    assert found == expected, (name, found)
psql("boss", "sdk", "create role eve login")
users = api.list_users(instance_id=instance.id, order_by="name_desc")
assert users.total_count == 5, users
paged = api.list_users_all(instance_id=instance.id, page_size=2)
assert [user.name for user in paged] == ["bob$-x", "boss", "carol", "dave", "eve"]
assert [user.name for user in reversed(users.users)] == [user.name for user in paged]
assert api.list_users(instance_id=instance.id, name="carol").users[0].is_admin
rights = "select rolcreaterole, rolcreatedb, rolsuper, rolreplication from pg_roles where rolname = current_user"
assert psql("carol", "sdk", rights) == "t|t|f|f"
updated = api.update_user(instance_id=instance.id, name="bob$-x", password="N3w!pass", is_admin=True)
assert updated.is_admin
assert psql("bob$-x", "sdk", rights, password="N3w!pass") == "t|t|f|f"
assert "password authentication failed" in denied("bob$-x", "sdk", rights)
assert not api.update_user(instance_id=instance.id, name="bob$-x", is_admin=False).is_admin
missing = refused("not_found", lambda: api.update_user(instance_id=instance.id, name="nobody", is_admin=False))
assert (missing["resource"], missing["resource_id"]) == ("user", "nobody")
# The first user's password is kept in mind for the other dialect too.
api.update_user(instance_id=instance.id, name="boss", password="B0ss!pass")
assert psql("boss", "sdk", "select 1", password="B0ss!pass") == "1"
api.update_user(instance_id=instance.id, name="boss", password=PASSWORD)

step("databases")
for name in ("shop", "empty"):
    made = api.create_database(instance_id=instance.id, name=name)
    assert made.name == name and made.managed
assert refused("already_exists", lambda: api.create_database(instance_id=instance.id, name="shop"))
psql("boss", "sdk", "create database own")
psql("carol", "shop", "create table t as select generate_series(1, 20000) as n")
databases = {one.name: one for one in api.list_databases_all(instance_id=instance.id, page_size=2)}
assert databases["shop"].managed and not databases["own"].managed
assert databases["own"].owner == "boss"
size = int(psql("boss", "sdk", "select pg_database_size('shop')"))
assert abs(databases["shop"].size - size) < 1_000_000, (databases["shop"].size, size)
by_size = api.list_databases(instance_id=instance.id, order_by="size_desc", managed=True)
assert by_size.databases[0].name == "shop", by_size
skipped = api.list_databases(instance_id=instance.id, name="shop", skip_size_retrieval=True)
assert [one.size for one in skipped.databases] == [0]
assert [one.name for one in api.list_databases(instance_id=instance.id, owner="boss").databases] == ["own"]

step("privileges")


def permission(user, database):
    listed = api.list_privileges(instance_id=instance.id, user_name=user, database_name=database)
    return [str(one.permission) for one in listed.privileges]


def give(wanted):
    given = api.set_privilege(
        instance_id=instance.id, database_name="shop", user_name="dave", permission=wanted
    )
    assert given.permission == wanted, given
    assert permission("dave", "shop") == [wanted]


assert permission("dave", "shop") == ["none"]
denied("dave", "shop", "select count(*) from t")
give("readonly")
assert psql("dave", "shop", "select count(*) from t") == "20000"
denied("dave", "shop", "delete from t")
psql("carol", "shop", "create table later as select 1 as n")
assert psql("dave", "shop", "select n from later") == "1"
give("readwrite")
psql("dave", "shop", "insert into later values (2)")
give("all")
psql("dave", "shop", "create table mine (n int)")
given = api.set_privilege(instance_id=instance.id, database_name="shop", user_name="eve")
assert given.permission == "readonly", "what holds without a word"
give("none")
denied("dave", "shop", "select count(*) from t")
psql("carol", "shop", "grant connect on database shop to dave; grant select on t to dave")
assert permission("dave", "shop") == ["custom"]
everybody = api.list_privileges_all(instance_id=instance.id, page_size=3, order_by="database_name_asc")
assert len(everybody) == api.list_privileges(instance_id=instance.id).total_count
assert arguments(
    lambda: api.set_privilege(
        instance_id=instance.id, database_name="shop", user_name="dave", permission="custom"
    )
) == ["permission"]
refused(
    "not_found",
    lambda: api.set_privilege(instance_id=instance.id, database_name="shop", user_name="nobody"),
)

step("removals")
api.delete_user(instance_id=instance.id, name="dave")
assert psql("carol", "shop", "select count(*) from mine") == "0", "what it owned is there"
refused("not_found", lambda: api.delete_user(instance_id=instance.id, name="dave"))
api.delete_database(instance_id=instance.id, name="empty")
refused("not_found", lambda: api.delete_database(instance_id=instance.id, name="empty"))

step("settings")
started = psql("boss", "sdk", "select pg_postmaster_start_time()")
added = api.add_instance_settings(
    instance_id=instance.id, settings=[InstanceSetting("work_mem", "12"), InstanceSetting("jit", "off")]
)
assert {one.name: one.value for one in added.settings} == {"work_mem": "12", "jit": "off"}
ready()
assert psql("boss", "sdk", "select current_setting('work_mem'), current_setting('jit')") == "12MB|off"
assert psql("boss", "sdk", "select pg_postmaster_start_time()") == started, "it needs no restart"
set_ = api.set_instance_settings(
    instance_id=instance.id, settings=[InstanceSetting("max_connections", "120")]
)
assert [(one.name, one.value) for one in set_.settings] == [("max_connections", "120")]
ready()
assert psql("boss", "sdk", "show max_connections") == "120"
assert psql("boss", "sdk", "select pg_postmaster_start_time()") != started, "it needs a restart"
assert psql("boss", "sdk", "show jit") == "on"
for name, value in (("work_mem", "-5"), ("work_mem", "much"), ("no_such", "1"), ("jit", "perhaps")):
    found = arguments(
        lambda: api.add_instance_settings(
            instance_id=instance.id, settings=[InstanceSetting(name, value)]
        )
    )
    assert found == [name], found
left = api.delete_instance_settings(instance_id=instance.id, setting_names=["max_connections"])
assert left.settings == []
assert ready().settings == []

step("access rules")
rules = api.list_instance_acl_rules(instance_id=instance.id)
assert [(rule.ip, rule.description) for rule in rules.rules] == [("0.0.0.0/0", "Allow All")]
added = api.add_instance_acl_rules(
    instance_id=instance.id, rules=[ACLRuleRequest(ip="192.0.2.7", description="one")]
)
assert [rule.ip for rule in added.rules] == ["0.0.0.0/0", "192.0.2.7/32"]
ready()
# Of two who change it at the same time, one is told what it is doing.
api.set_instance_acl_rules(
    instance_id=instance.id, rules=[ACLRuleRequest(ip="198.51.100.0/24", description="far")]
)
ready()
until("shut out", lambda: "denied" not in denied("boss", "sdk", "select 1"))
kept = api.add_instance_acl_rules(
    instance_id=instance.id, rules=[ACLRuleRequest(ip="127.0.0.0/8", description="here")]
)
assert len(kept.rules) == 2
ready()
assert psql("boss", "sdk", "select 1") == "1"
left = api.delete_instance_acl_rules(instance_id=instance.id, acl_rule_ips=["198.51.100.0/24"])
assert [rule.ip for rule in left.rules] == ["127.0.0.0/8"]
ready()
assert len(api.list_instance_acl_rules_all(instance_id=instance.id)) == 1
assert arguments(
    lambda: api.add_instance_acl_rules(
        instance_id=instance.id, rules=[ACLRuleRequest(ip="everywhere", description="")]
    )
) == ["rules[0].ip"]

step("another certificate")
started = psql("boss", "sdk", "select pg_postmaster_start_time()")
api.renew_instance_certificate(instance_id=instance.id)
ready()
old, authority = authority, certificate(f"{folder}/new.pem")
assert psql("boss", "sdk", "select pg_postmaster_start_time()") == started, "it needs no restart"
assert "certificate verify failed" in denied("boss", "sdk", "select 1", ca=old)

step("what is not there yet")
soon = datetime.datetime(2030, 1, 1)
for lists in (
    lambda: api.list_database_backups(instance_id=instance.id, order_by="status_asc").database_backups,
    lambda: api.list_database_backups_all(name="x"),
    lambda: api.list_snapshots(order_by="expires_at_desc").snapshots,
    lambda: api.list_snapshots_all(),
    lambda: api.list_instance_logs(instance_id=instance.id, order_by="created_at_desc").instance_logs,
    lambda: api.list_instance_logs_details(instance_id=instance.id).details,
):
    assert lists() == []
replica = [ReadReplicaEndpointSpec(direct_access=ReadReplicaEndpointSpecDirectAccess())]
network = EndpointSpec(
    private_network=EndpointSpecPrivateNetwork(
        private_network_id=NOBODY, ipam_config=EndpointSpecPrivateNetworkIpamConfig()
    )
)
for words, call in (
    (
        "backups",
        lambda: api.create_database_backup(
            instance_id=instance.id, database_name="shop", expires_at=soon
        ),
    ),
    ("backups", lambda: api.get_database_backup(database_backup_id=NOBODY)),
    ("backups", lambda: api.wait_for_database_backup(database_backup_id=NOBODY)),
    ("backups", lambda: api.update_database_backup(database_backup_id=NOBODY, name="n", expires_at=soon)),
    ("backups", lambda: api.delete_database_backup(database_backup_id=NOBODY)),
    ("backups", lambda: api.export_database_backup(database_backup_id=NOBODY)),
    (
        "backups",
        lambda: api.restore_database_backup(database_backup_id=NOBODY, instance_id=instance.id),
    ),
    ("snapshots", lambda: api.create_snapshot(instance_id=instance.id)),
    ("snapshots", lambda: api.get_snapshot(snapshot_id=NOBODY)),
    ("snapshots", lambda: api.wait_for_snapshot(snapshot_id=NOBODY)),
    ("snapshots", lambda: api.update_snapshot(snapshot_id=NOBODY, name="n")),
    ("snapshots", lambda: api.delete_snapshot(snapshot_id=NOBODY)),
    (
        "snapshots",
        lambda: api.create_instance_from_snapshot(snapshot_id=NOBODY, instance_name="n"),
    ),
    ("clones", lambda: api.clone_instance(instance_id=instance.id, name="n")),
    ("upgrades", lambda: api.upgrade_instance(instance_id=instance.id, node_type="db-dev-m")),
    (
        "metrics",
        lambda: api.get_instance_metrics(
            instance_id=instance.id, start_date=soon, end_date=soon.astimezone()
        ),
    ),
    ("logs", lambda: api.prepare_instance_logs(instance_id=instance.id, start_date=soon)),
    ("logs", lambda: api.purge_instance_logs(instance_id=instance.id)),
    ("logs", lambda: api.get_instance_log(instance_log_id=NOBODY)),
    ("logs", lambda: api.wait_for_instance_log(instance_log_id=NOBODY)),
    (
        "read replicas",
        lambda: api.create_read_replica(instance_id=instance.id, endpoint_spec=replica, same_zone=True),
    ),
    ("read replicas", lambda: api.get_read_replica(read_replica_id=NOBODY)),
    ("read replicas", lambda: api.wait_for_read_replica(read_replica_id=NOBODY)),
    ("read replicas", lambda: api.delete_read_replica(read_replica_id=NOBODY)),
    ("read replicas", lambda: api.reset_read_replica(read_replica_id=NOBODY)),
    ("read replicas", lambda: api.promote_read_replica(read_replica_id=NOBODY)),
    (
        "read replicas",
        lambda: api.create_read_replica_endpoint(read_replica_id=NOBODY, endpoint_spec=replica),
    ),
    ("endpoints", lambda: api.create_endpoint(instance_id=instance.id, endpoint_spec=network)),
    ("endpoints", lambda: api.delete_endpoint(endpoint_id=shown.endpoint.id)),
    ("endpoints", lambda: api.migrate_endpoint(endpoint_id=shown.endpoint.id, instance_id=instance.id)),
    ("maintenances", lambda: api.apply_instance_maintenance(instance_id=instance.id)),
    (
        "private networks",
        lambda: api.create_instance(**wanted, name="net", init_endpoints=[network]),
    ),
    ("high availability", lambda: api.create_instance(**{**wanted, "is_ha_cluster": True}, name="ha")),
):
    why = refused("precondition_failed", call)
    assert words in why["help_message"], why

step("keys")
other = RdbV1API(client(secret_key=NOBODY))
wrong = refused("denied_authentication", lambda: other.list_instances())
assert (wrong["method"], wrong["reason"]) == ("api_key", "not_found")
other = RdbV1API(client(secret_key=os.environ["BERTH_OTHER_SECRET_KEY"]))
assert refused("not_found", lambda: other.get_instance(instance_id=instance.id))["resource"] == "instance"
assert other.list_instances().total_count == 0

step("its end")
assert api.delete_instance(instance_id=instance.id).status == "deleting"


def gone():
    try:
        return api.get_instance(instance_id=instance.id).status != "deleting"
    except ScalewayException as why:
        assert why.response.json()["type"] == "not_found"
        return True


until("gone", gone)
assert api.list_instances().total_count == 0

methods = {name for name in dir(RdbV1API) if not name.startswith("_")}
methods = {name for name in methods if callable(getattr(RdbV1API, name))}
never = methods - api.called
assert not never, f"never called: {sorted(never)}"
print(f"{len(methods)} methods were called", file=sys.stderr)

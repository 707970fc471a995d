#!/usr/bin/env python3
"""The tour of the API below /rdb/v1 with the client for Python, as its makers publish it: an instance, its certificate, a
user, a database, a privilege, a setting, who may connect, and its end.

    pip install scaleway==2.12.0
    SCW_API_URL=http://127.0.0.1:8080 SCW_ACCESS_KEY=… SCW_SECRET_KEY=… examples/python-tour.py

`berth key create` makes a pair of keys and says which project they belong to: SCW_DEFAULT_PROJECT_ID.
"""

import base64
import os
import time

from scaleway import Client, ScalewayException
from scaleway.rdb.v1 import ACLRuleRequest, InstanceSetting, RdbV1API

PASSWORD = os.environ.get("TOUR_PASSWORD", "S3cret!pw")
client = Client.from_env()
client.api_allow_insecure = True
client.default_region = client.default_region or "fr-par"
api = RdbV1API(client)

engine = next(one for one in api.list_database_engines_all() if one.name == "PostgreSQL")
version = next(version for version in engine.versions if not version.disabled and not version.beta)
print(f"{version.name}, {len(version.available_settings)} settings")

instance = api.create_instance(
    name=f"tour-{os.getpid()}",
    engine=version.name,
    user_name="boss",
    password=PASSWORD,
    node_type="db-dev-s",
    is_ha_cluster=False,
    disable_backup=True,
    volume_size=0,
    backup_same_region=False,
    tags=["tour"],
)
print(instance.id, instance.status)
instance = api.wait_for_instance(instance_id=instance.id)
where = instance.endpoints[0]
print(instance.status, "at", where.ip or where.hostname, where.port)

pem = base64.b64decode(api.get_instance_certificate(instance_id=instance.id).content)
print(pem.decode().splitlines()[0])

api.create_user(instance_id=instance.id, name="reader", password=PASSWORD, is_admin=False)
api.create_database(instance_id=instance.id, name="shop")
api.set_privilege(
    instance_id=instance.id, database_name="shop", user_name="reader", permission="readonly"
)
for privilege in api.list_privileges_all(instance_id=instance.id, database_name="shop"):
    print(privilege.user_name, "has", privilege.permission)

api.add_instance_settings(instance_id=instance.id, settings=[InstanceSetting("work_mem", "8")])
print([(one.name, one.value) for one in api.wait_for_instance(instance_id=instance.id).settings])

api.set_instance_acl_rules(
    instance_id=instance.id, rules=[ACLRuleRequest(ip="127.0.0.0/8", description="this machine")]
)
api.wait_for_instance(instance_id=instance.id)
print([rule.ip for rule in api.list_instance_acl_rules_all(instance_id=instance.id)])

try:
    api.create_snapshot(instance_id=instance.id)
except ScalewayException as refused:
    print(refused.response.json()["help_message"])

print(api.delete_instance(instance_id=instance.id).status)
while True:
    try:
        api.get_instance(instance_id=instance.id)
    except ScalewayException as gone:
        print(gone.response.json()["message"])
        break
    time.sleep(0.5)

"""What the document cannot say, because it is the same for every host: what the one under test offers and holds."""

import json
import os

import schemathesis

# Values by field of a creation, and values by operation that something is there for.
OFFER = json.loads(os.environ["BERTH_OFFER"])
EXAMPLES = json.loads(os.environ["BERTH_EXAMPLES"])
# The same for the dialect below /rdb/v1: values by field of a creation, and by what a path names.
OTHER_OFFER = json.loads(os.environ["BERTH_OTHER_OFFER"])
OTHER_PLACES = json.loads(os.environ["BERTH_OTHER_PLACES"])

# What the key that it asks with is known by.
OWN_KEY = json.loads(os.environ["BERTH_OWN_KEY"])

# Problems of requests that fit the document: whether these values are right depends on what happened before, or on
# another field, as the version does on the engine.
DEPENDS = {"cursor", "instance", "shards", "version"}


@schemathesis.hook
def before_load_schema(context, raw_schema):
    creation = raw_schema["components"]["schemas"]["NewDatabase"]["properties"]
    for field, values in OFFER.items():
        if "null" in creation[field].get("type", ""):
            values = [*values, None]
        creation[field]["enum"] = values
    key = raw_schema["components"]["schemas"]["WantedKey"]["properties"]
    key["project"]["enum"] = OTHER_OFFER["project_id"]
    creation = raw_schema["components"]["schemas"]["rdb.CreateInstance"]["properties"]
    for field, values in OTHER_OFFER.items():
        creation[field] = {"enum": values}
    for path, item in raw_schema["paths"].items():
        for operation in item.values():
            named = [p for p in operation.get("parameters", []) if p["in"] == "path"]
            if path.startswith("/rdb/"):
                for parameter in named:
                    values = OTHER_PLACES.get(parameter["name"])
                    if values is not None:
                        parameter["schema"] = {"enum": values}
                continue
            example = EXAMPLES.get(operation["operationId"])
            if example is not None:
                named[0]["example"] = example


@schemathesis.hook
def before_call(context, case, kwargs):
    # The key that it asks with stays: the rest would only be told that it is not known.
    if case.operation.path == "/admin/v1/keys/{id}" and case.path_parameters.get("id") in OWN_KEY:
        case.path_parameters["id"] = "nobody"


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """Whether it is a failure. A request that fits the document may be refused for reasons that no schema can say."""
    if failure.code != "ST202":
        return True
    body = response.json()
    if response.status_code == 400 and body.get("type") == "invalid_arguments":
        # Of the right form, but not a value that can be had.
        return not all(detail["reason"] == "constraint" for detail in body["details"])
    if response.status_code != 422:
        return True
    if body["code"] == "idempotency_key_reused":
        return False
    if not body["fields"]:
        return True
    return not all(
        problem["field"] in DEPENDS or problem["reason"] == "says something else than `type`"
        for problem in body["fields"]
    )

"""What the document cannot say, because it is the same for every host: what the one under test offers and holds."""

import json
import os

import schemathesis

# Values by field of a creation, and values by operation that something is there for.
OFFER = json.loads(os.environ["BERTH_OFFER"])
EXAMPLES = json.loads(os.environ["BERTH_EXAMPLES"])

# Problems of requests that fit the document: whether these values are right depends on what happened before.
DEPENDS = {"cursor", "instance"}


@schemathesis.hook
def before_load_schema(context, raw_schema):
    creation = raw_schema["components"]["schemas"]["NewDatabase"]["properties"]
    for field, values in OFFER.items():
        if "null" in creation[field].get("type", ""):
            values = [*values, None]
        creation[field]["enum"] = values
    for item in raw_schema["paths"].values():
        for operation in item.values():
            example = EXAMPLES.get(operation["operationId"])
            if example is not None:
                parameter = next(p for p in operation["parameters"] if p["in"] == "path")
                parameter["example"] = example


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """Whether it is a failure. A request that fits the document may be refused for reasons that no schema can say."""
    if failure.code != "ST202" or response.status_code != 422:
        return True
    body = response.json()
    if body["code"] == "idempotency_key_reused":
        return False
    if not body["fields"]:
        return True
    return not all(
        problem["field"] in DEPENDS or problem["reason"] == "says something else than `type`"
        for problem in body["fields"]
    )

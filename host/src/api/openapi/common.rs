//! What every operation has in common: the headers of its answers, the body of its errors, and those errors that come
//! from around the handlers. A handler names only what is its own.

use serde_json::{Map, Value, json};

use crate::api::rdb;

const METHODS: [&str; 8] = [
    "get", "put", "post", "delete", "options", "head", "patch", "trace",
];
const ERROR: &str = "#/components/schemas/Error";
const RDB_ERROR: &str = "#/components/schemas/rdb.Error";

/// What decides about an operation's errors.
#[derive(Clone, Copy)]
struct Facts {
    /// It needs a key.
    keyed: bool,
    /// It needs an admin's.
    admin: bool,
    body: bool,
    query: bool,
    header: bool,
    path: bool,
}

struct Common {
    status: &'static str,
    description: &'static str,
    applies: fn(Facts) -> bool,
}

const COMMON: [Common; 10] = [
    Common {
        status: "400",
        description: "The request cannot be read: its body is not JSON or was cut off, or its address is not text.",
        applies: |facts| facts.body || facts.query || facts.path,
    },
    Common {
        status: "401",
        description: "There is no key, or one that is not known.",
        applies: |facts| facts.keyed,
    },
    Common {
        status: "403",
        description: "The key is not an admin's.",
        applies: |facts| facts.admin,
    },
    Common {
        status: "404",
        description: "There is none with this id that the key may see.",
        applies: |facts| facts.path,
    },
    Common {
        status: "413",
        description: "The body is larger than the host takes.",
        applies: |facts| facts.body,
    },
    Common {
        status: "415",
        description: "The body is not sent as JSON.",
        applies: |facts| facts.body,
    },
    Common {
        status: "422",
        description: "Something in it is not valid: `fields` says what, why, and what would be right.",
        applies: |facts| facts.body || facts.query || facts.header,
    },
    Common {
        status: "429",
        description: "Too many requests, or too much is under way: ask again after a while.",
        applies: |facts| facts.keyed,
    },
    Common {
        status: "500",
        description: "A defect of Berth, or of what it runs on.",
        applies: |_| true,
    },
    Common {
        status: "503",
        description: "Something that is needed is not there now, or the request took too long: ask again after a while.",
        applies: |_| true,
    },
];

/// The same for the dialect with errors of its own.
const COMMON_IN_RDB: [Common; 11] = [
    Common {
        status: "400",
        description: "`invalid_arguments`: `details` says of each what is wrong and what would be right.",
        applies: |_| true,
    },
    Common {
        status: "401",
        description: "`denied_authentication`: there is no key, or one that is not known.",
        applies: |_| true,
    },
    Common {
        status: "403",
        description: "`permissions_denied` or `quotas_exceeded`.",
        applies: |facts| facts.body,
    },
    Common {
        status: "404",
        description: "`not_found`: there is none with this name that the key may see.",
        applies: |facts| facts.path,
    },
    Common {
        status: "409",
        description: "`transient_state`, while it is being changed, or `already_exists`.",
        applies: |facts| facts.path,
    },
    Common {
        status: "412",
        description: "`precondition_failed`: something must be so that is not, or is not there yet.",
        applies: |facts| facts.path,
    },
    Common {
        status: "413",
        description: "The body is larger than the host takes.",
        applies: |facts| facts.body,
    },
    Common {
        status: "423",
        description: "`locked`: it is stopped.",
        applies: |facts| facts.path,
    },
    Common {
        status: "429",
        description: "`too_many_requests`: ask again after a while.",
        applies: |_| true,
    },
    Common {
        status: "500",
        description: "Something went wrong in the host. Its log says what, under the request's id.",
        applies: |_| true,
    },
    Common {
        status: "503",
        description: "Something that is needed is not there now, or is `out_of_stock`: ask again after a while.",
        applies: |_| true,
    },
];

pub fn complete(document: &mut Value) {
    document["components"]["headers"] = headers();
    if let Some(schemas) = document["components"]["schemas"].as_object_mut() {
        schemas.values_mut().for_each(require_what_may_be_null);
        for (name, schema) in schemas {
            // What nobody knows is refused there only if it asks for something.
            if name.starts_with("rdb.") && schema["additionalProperties"] == false {
                schema["additionalProperties"] = json!({ "enum": [null, false, 0, "", [], {}] });
            }
        }
    }
    let components = document["components"].clone();
    let Some(paths) = document["paths"].as_object_mut() else {
        return;
    };
    for (path, item) in paths {
        for method in METHODS {
            if let Some(operation) = item.get_mut(method) {
                complete_operation(path, operation, &components);
                say_what_is_there(operation);
            }
        }
    }
}

fn complete_operation(path: &str, operation: &mut Value, components: &Value) {
    let facts = facts(path, operation);
    if !facts.keyed {
        operation["security"] = json!([]);
    }
    if let Some(body) = operation.get_mut("requestBody") {
        // There, no body asks for nothing.
        body["required"] = (!rdb::owns(path) || must_say_something(body, components)).into();
    }
    let Some(responses) = operation["responses"].as_object_mut() else {
        return;
    };
    let (common, error): (&[Common], _) = if rdb::owns(path) {
        (&COMMON_IN_RDB, RDB_ERROR)
    } else {
        (&COMMON, ERROR)
    };
    for common in common.iter().filter(|common| (common.applies)(facts)) {
        add(responses, common);
    }
    for (status, response) in responses {
        let is_error = status.as_str() >= "400";
        if is_error && response.get("content").is_none() {
            response["content"] = json!({ "application/json": { "schema": { "$ref": error } } });
        }
        for (name, header) in headers_of(status) {
            response["headers"][name] = json!({ "$ref": format!("#/components/headers/{header}") });
        }
    }
}

/// Whether there is something that a body must have.
fn must_say_something(body: &Value, components: &Value) -> bool {
    let schema = &body["content"]["application/json"]["schema"]["$ref"];
    let name = schema.as_str().and_then(|goal| goal.rsplit('/').next());
    let required = name.map(|name| &components["schemas"][name]["required"]);
    let required = required.and_then(Value::as_array);
    required.is_some_and(|fields| !fields.is_empty())
}

/// Of the dialect that has a table of it: operations that are not there yet say so.
fn say_what_is_there(operation: &mut Value) {
    let row = operation["operationId"].as_str();
    let row = row.and_then(|id| rdb::OPERATIONS.iter().find(|row| row.id == id));
    let said = match row.map(|row| row.state) {
        Some(rdb::State::Later(ability)) => {
            format!("Not there yet: {}. It is refused.", ability.name())
        }
        Some(rdb::State::Empty(ability)) => {
            format!("Not there yet: {}. There are none.", ability.name())
        }
        Some(rdb::State::There) | None => return,
    };
    operation["description"] = said.into();
    operation["x-not-there-yet"] = true.into();
}

/// An answer says null rather than leave a field out; what it does leave out is described as never null. A request,
/// which knows all its fields, may leave out what may be null.
fn require_what_may_be_null(schema: &mut Value) {
    let parts = schema.get_mut("allOf").and_then(Value::as_array_mut);
    for part in parts.into_iter().flatten() {
        require_what_may_be_null(part);
    }
    if schema["additionalProperties"] == false {
        return;
    }
    let Some(properties) = schema["properties"].as_object() else {
        return;
    };
    let required = properties.iter().filter(|(name, property)| {
        let listed = schema["required"].as_array();
        let listed = listed.is_some_and(|all| all.iter().any(|one| one == *name));
        listed || may_be_null(property)
    });
    let required: Vec<&String> = required.map(|(name, _)| name).collect();
    schema["required"] = json!(required);
}

fn may_be_null(property: &Value) -> bool {
    let types = property["type"].as_array().into_iter().flatten();
    let choices = property["oneOf"].as_array().into_iter().flatten();
    let mut names = types.chain(choices.map(|choice| &choice["type"]));
    names.any(|name| name == "null")
}

/// An answer of the handler's own with this status stays what it is, and may be an error's body as well.
fn add(responses: &mut Map<String, Value>, common: &Common) {
    let Some(own) = responses.get_mut(common.status) else {
        let description = json!({ "description": common.description });
        responses.insert(common.status.to_owned(), description);
        return;
    };
    if let Some(schema) = own.pointer_mut("/content/application~1json/schema") {
        *schema = json!({ "anyOf": [schema.take(), { "$ref": ERROR }] });
    }
}

fn facts(path: &str, operation: &Value) -> Facts {
    let has = |place: &str| {
        let parameters = operation["parameters"].as_array();
        parameters.is_some_and(|all| all.iter().any(|parameter| parameter["in"] == place))
    };
    Facts {
        keyed: operation.get("security").is_none(),
        admin: path.starts_with("/admin/"),
        body: operation.get("requestBody").is_some(),
        query: has("query"),
        header: has("header"),
        path: has("path"),
    }
}

/// Names of headers, each with its description's.
fn headers_of(status: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let own = match status {
        "401" => Some(("WWW-Authenticate", "Authenticate")),
        "429" => Some(("Retry-After", "RetryAfter")),
        // Whether it comes by itself is not always known.
        "503" => Some(("Retry-After", "MayRetryAfter")),
        _ => None,
    };
    std::iter::once(("X-Request-Id", "RequestId")).chain(own)
}

fn headers() -> Value {
    let seconds = json!({ "type": "integer", "minimum": 1 });
    json!({
        "RequestId": {
            "description": "Names the request, in errors and in the log too.",
            "required": true,
            "schema": { "type": "string", "pattern": "^[A-Za-z0-9._:-]{1,128}$" },
        },
        "Authenticate": {
            "description": "How to send a key.",
            "required": true,
            "schema": { "type": "string", "const": "Bearer" },
        },
        "RetryAfter": {
            "description": "Seconds after which it may be asked again.",
            "required": true,
            "schema": seconds,
        },
        "MayRetryAfter": {
            "description": "Seconds after which it may be asked again, when that is known.",
            "schema": seconds,
        },
    })
}

//! The OpenAPI 3.1 document, made from the table of routes and the types of the bodies.

use std::sync::OnceLock;

use hypervisor_core::model::Unreachable;
use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use crate::routes::{Access, Body, Good, Param, Route, Shape, table};

/// The document.
pub(crate) fn document() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(build)
}

fn build() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    generator.subschema_for::<crate::paging::Pagination>();
    generator.subschema_for::<hypervisor_core::Error>();
    let mut paths: Map<String, Value> = Map::new();
    for route in table() {
        let operation = operation(route, &mut generator);
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        if let Value::Object(methods) = path {
            methods.insert(route.method.as_str().to_ascii_lowercase(), operation);
        }
    }
    let mut schemas: Map<String, Value> = generator.take_definitions(true);
    schemas.insert("Meta".to_owned(), meta());
    schemas.insert("Error".to_owned(), error());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "hypervisor-gateway",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Virtual machines of any backend over one REST API. Objects carry the lossless model as `info`, errors as \
                `native`; with `view=native` only these are sent.",
        },
        "servers": [{ "url": "/" }],
        "security": [{ "bearer": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer" },
                "basic": { "type": "http", "scheme": "basic" },
            },
            "headers": rate_headers(),
        },
    })
}

fn rate_headers() -> Value {
    let header = |about: &str| json!({ "description": about, "schema": { "type": "integer" } });
    json!({
        "X-RateLimit-Limit": header("How many requests the window has."),
        "X-RateLimit-Remaining": header("How many are left."),
        "X-RateLimit-Reset": header("When the window ends, in seconds since 1970."),
        "X-RateLimit-Window": header("How long the window is, in seconds."),
    })
}

fn meta() -> Value {
    json!({
        "type": "object",
        "required": ["request_id", "timestamp", "execution_time_ms"],
        "properties": {
            "request_id": { "type": "string" },
            "timestamp": { "type": "string", "format": "date-time" },
            "execution_time_ms": { "type": "integer", "minimum": 0 },
            "replayed": { "type": "boolean", "description": "The answer to an earlier request with this Idempotency-Key." },
            "ai_model": { "type": ["string", "null"], "description": "What has generated the code." },
            "tokens_used": { "type": ["integer", "null"], "minimum": 0 },
        },
    })
}

fn error() -> Value {
    json!({
        "type": "object",
        "required": ["success", "error", "meta"],
        "properties": {
            "success": { "const": false },
            "error": {
                "type": "object",
                "required": ["code", "message", "details", "native"],
                "properties": {
                    "code": { "type": "string" },
                    "message": { "type": "string" },
                    "details": { "type": "object" },
                    "native": { "$ref": "#/components/schemas/NativeError" },
                },
            },
            "meta": { "$ref": "#/components/schemas/Meta" },
        },
    })
}

fn shape(shape: Shape, generator: &mut SchemaGenerator) -> Value {
    match shape {
        Shape::Own(of) => of(generator).to_value(),
        Shape::Many(of) => json!({ "type": "array", "items": of(generator).to_value() }),
        Shape::With(member, of) => {
            let of = of(generator).to_value();
            json!({ "type": "object", "required": [member], "properties": { member: of } })
        }
    }
}

/// What a job made or changed: whatever the routes give that begin jobs.
pub(crate) fn job_output(generator: &mut SchemaGenerator) -> Schema {
    let mut any = vec![json!({ "type": "null" })];
    for route in table() {
        if let Good::Started(_, output, _) = route.good {
            let output = shape(output, generator);
            if !any.contains(&output) {
                any.push(output);
            }
        }
    }
    json_schema!({ "anyOf": any })
}

fn envelope(data: &Value) -> Value {
    json!({
        "type": "object",
        "required": ["success", "data", "meta"],
        "properties": {
            "success": { "const": true },
            "data": data,
            "meta": { "$ref": "#/components/schemas/Meta" },
        },
    })
}

fn members(of: &[(&'static str, Shape)], generator: &mut SchemaGenerator) -> Map<String, Value> {
    of.iter().map(|(name, each)| ((*name).to_owned(), or_null(shape(*each, generator)))).collect()
}

/// What was not asked for is left out or `null`.
fn or_null(schema: Value) -> Value {
    json!({ "anyOf": [schema, { "type": "null" }] })
}

fn json_content(schema: &Value) -> Value {
    json!({ "application/json": { "schema": schema } })
}

fn good(route: &Route, generator: &mut SchemaGenerator) -> Vec<(u16, Value)> {
    let headers: Map<String, Value> =
        ["X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "X-RateLimit-Window"]
            .into_iter()
            .map(|name| (name.to_owned(), json!({ "$ref": format!("#/components/headers/{name}") })))
            .collect();
    let response =
        |about: &str, content: Value| json!({ "description": about, "headers": headers, "content": content });
    let object = |properties: Map<String, Value>| json!({ "type": "object", "properties": properties });
    match route.good {
        Good::Data(of) => {
            let data = object(members(of, generator));
            let content = json_content(&envelope(&data));
            let mut all = vec![(200, response("All is well.", content.clone()))];
            if route.id == "health" {
                all.push((503, response("The gateway does not work.", content)));
            }
            all
        }
        Good::Created(of) => {
            let data = object(members(of, generator));
            vec![(201, response("It was made.", json_content(&envelope(&data))))]
        }
        Good::Page(key, each) => {
            let each = shape(each, generator);
            // With view=native an item is only id and info.
            let item = json!({ "anyOf": [each, { "type": "object", "required": ["id"] }] });
            let data = json!({
                "type": "object",
                "required": [key, "pagination", "unreachable"],
                "properties": {
                    key: { "type": "array", "items": item },
                    "pagination": { "$ref": "#/components/schemas/Pagination" },
                    "unreachable": { "type": "array", "items": generator.subschema_for::<Unreachable>().to_value() },
                },
            });
            vec![(200, response("A page of the list.", json_content(&envelope(&data))))]
        }
        Good::Started(done, output, of) => {
            let output = shape(output, generator);
            let mut data = members(of, generator);
            data.insert(
                "started".to_owned(),
                json!({
                    "type": "object",
                    "required": ["output", "task"],
                    "properties": {
                        "output": output,
                        "task": { "type": ["string", "null"], "description": "The job that is at work; null if all is done." },
                    },
                }),
            );
            data.insert(
                "job".to_owned(),
                json!({
                    "type": "object",
                    "properties": { "id": { "type": "string" }, "type": { "type": "string" }, "status": { "type": "string" } },
                }),
            );
            let content = json_content(&envelope(&object(data)));
            vec![
                (done, response("It is done.", content.clone())),
                (202, response("A job is at work on it.", content)),
            ]
        }
        Good::Message => {
            let body = json!({
                "type": "object",
                "required": ["success", "message", "meta"],
                "properties": {
                    "success": { "const": true },
                    "message": { "type": "string" },
                    "meta": { "$ref": "#/components/schemas/Meta" },
                },
            });
            vec![(200, response("It is done.", json_content(&body)))]
        }
        Good::Bytes(content_type) => {
            let schema = match content_type {
                "application/json" => json!({ "type": "object" }),
                _ => json!({}),
            };
            let mut content = json!({ content_type: { "schema": schema } });
            if let (true, Value::Object(types)) = (content_type == "image/png", &mut content) {
                types.insert("image/x-portable-pixmap".to_owned(), json!({ "schema": schema }));
            }
            vec![(200, response("The bytes.", content))]
        }
        Good::Stream { server_sent } => {
            let mut all = vec![(101, json!({ "description": "A WebSocket." }))];
            if server_sent {
                let content = json!({ "text/event-stream": { "schema": { "type": "string" } } });
                all.push((200, response("Server-sent events.", content)));
            }
            all
        }
    }
}

/// The statuses that a refusal or failure can have, with what each means.
const BAD: [(u16, &str); 18] = [
    (400, "The request cannot be read."),
    (401, "The token is missing, wrong or expired."),
    (403, "The token lacks the permission, or the backend's user does."),
    (404, "There is no such object."),
    (409, "The object's name, version or state is in the way."),
    (413, "The body is too large."),
    (415, "The body is not JSON."),
    (422, "A field or parameter is wrong."),
    (423, "Another task holds the object."),
    (429, "Too many requests."),
    (500, "The backend or the gateway failed, or a task did."),
    (501, "The backend cannot do this."),
    (502, "The backend cannot be reached or understood."),
    (503, "The gateway takes no requests now, or the guest's agent does not answer."),
    (504, "The backend did not answer in time."),
    (507, "Something ran out."),
    (405, "The method does not go with the path."),
    (408, "The request did not come in time."),
];

fn parameter(param: &Param) -> Value {
    let mut schema = match param.kind {
        "json" => json!({ "type": "string", "contentMediaType": "application/json" }),
        kind => json!({ "type": kind }),
    };
    if let (false, Value::Object(schema)) = (param.values.is_empty(), &mut schema) {
        schema.insert("enum".to_owned(), json!(param.values));
    }
    json!({ "name": param.name, "in": "query", "description": param.about, "schema": schema })
}

fn operation(route: &Route, generator: &mut SchemaGenerator) -> Value {
    let in_path = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let in_path = in_path.map(|name| {
        json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string", "minLength": 1 } })
    });
    let parameters: Vec<Value> = in_path.chain(route.query.iter().map(parameter)).collect();
    let mut responses: Map<String, Value> =
        good(route, generator).into_iter().map(|(status, response)| (status.to_string(), response)).collect();
    for (status, about) in BAD {
        let error = json!({ "$ref": "#/components/schemas/Error" });
        let response = json!({ "description": about, "content": json_content(&error) });
        responses.entry(status.to_string()).or_insert(response);
    }
    let mut operation = json!({
        "operationId": route.id,
        "summary": route.about,
        "tags": [route.tag()],
        "parameters": parameters,
        "responses": responses,
        "x-rate-category": route.category.as_str(),
    });
    let Value::Object(members) = &mut operation else { return operation };
    match route.access {
        Access::Open => {
            members.insert("security".to_owned(), json!([]));
        }
        Access::Permission(permission) => {
            members.insert("x-permission".to_owned(), permission.into());
            if route.basic {
                members.insert("security".to_owned(), json!([{ "bearer": [] }, { "basic": [] }]));
            }
        }
        Access::Token => {}
    }
    let body = match route.body {
        Body::Nothing => None,
        Body::Json(of) => Some((true, json_content(&shape(of, generator)))),
        Body::Maybe(of) => Some((false, json_content(&shape(of, generator)))),
        Body::Bytes => Some((true, json!({ "application/octet-stream": { "schema": {} } }))),
    };
    if let Some((required, content)) = body {
        members.insert("requestBody".to_owned(), json!({ "required": required, "content": content }));
    }
    operation
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    use crate::problem::Problem;

    #[test]
    fn every_route_is_described_once_and_every_reference_leads_somewhere() {
        let document = document();
        let ids: BTreeSet<_> = table().iter().map(|route| route.id).collect();
        assert_eq!(ids.len(), table().len(), "two routes have one name");
        for route in table() {
            let method = route.method.as_str().to_ascii_lowercase();
            let operation = &document["paths"][route.path][&method];
            assert_eq!(operation["operationId"], route.id);
        }
        let described: usize =
            document["paths"].as_object().unwrap().values().map(|path| path.as_object().unwrap().len()).sum();
        assert_eq!(described, table().len());
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let pointer = reference.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer} leads nowhere");
        }
    }

    /// A model that is only named helps nobody: each has its members, its values or its items.
    #[test]
    fn every_schema_says_what_it_holds() {
        let document = document();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let says = ["properties", "enum", "oneOf", "anyOf", "items", "$ref", "additionalProperties"];
        // Backends put there what they like.
        let free = ["Extra"];
        for (name, schema) in schemas {
            let mut found = Vec::new();
            untyped(schema, name, &mut found);
            assert!(found.is_empty(), "{found:#?}");
            let known = says.iter().any(|key| schema.get(key).is_some());
            let scalar = matches!(schema["type"].as_str(), Some("string" | "integer" | "number" | "boolean"));
            assert!(known || scalar || free.contains(&name.as_str()), "{name}: {schema:#}");
        }
        let has = |name: &str, field: &str| {
            assert!(schemas[name]["properties"].get(field).is_some(), "{name} lacks {field}");
        };
        has("VmInfo", "state");
        has("VmSpec", "memory");
        has("NativeError", "retry");
        has("BatchReport", "outcomes");
        let output = schemas["JobView"]["properties"]["output"]["anyOf"].as_array().unwrap();
        for (made, is) in [("VmId", true), ("VolumeId", true), ("UpdateOutcome", true), ("VmInfo", false)] {
            let named = json!({ "$ref": format!("#/components/schemas/{made}") });
            assert_eq!(output.contains(&named), is, "{made}: {output:#?}");
        }
    }

    /// What is said of each member, in this schema and those within it.
    fn untyped(schema: &Value, at: &str, found: &mut Vec<String>) {
        match schema {
            Value::Object(members) => {
                if let Some(Value::Object(properties)) = members.get("properties") {
                    for (name, each) in properties {
                        if each.as_object().is_none_or(Map::is_empty) {
                            found.push(format!("{at}.{name}"));
                        }
                    }
                }
                members.iter().for_each(|(name, each)| untyped(each, &format!("{at}.{name}"), found));
            }
            Value::Array(all) => all.iter().for_each(|each| untyped(each, at, found)),
            _ => {}
        }
    }

    #[test]
    fn every_member_of_every_answer_has_a_type() {
        let mut found = Vec::new();
        let paths = &document()["paths"];
        untyped(paths, "", &mut found);
        assert!(found.is_empty(), "{found:#?}");
        let begun = &paths["/v1/vms"]["post"]["responses"]["201"]["content"]["application/json"]["schema"];
        let started = &begun["properties"]["data"]["properties"]["started"]["properties"];
        assert_eq!(started["output"]["$ref"], "#/components/schemas/VmId", "{started:#}");
    }

    #[test]
    fn every_status_of_an_error_is_described() {
        for kind in hypervisor_core::ErrorKind::ALL {
            let status = Problem::from(hypervisor_core::Error::new(*kind, "")).status.as_u16();
            assert!(BAD.iter().any(|(each, _)| *each == status), "{kind}: {status}");
        }
    }
}

//! The envelope, the errors and the pages of the document.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use wiremock::{Request, ResponseTemplate};

use super::state::World;

/// What a request asks.
pub(super) struct Call {
    pub(super) method: String,
    pub(super) path: Vec<String>,
    pub(super) query: BTreeMap<String, String>,
    pub(super) body: Value,
    pub(super) authorization: Option<String>,
}

impl Call {
    pub(super) fn read(request: &Request) -> Self {
        let decode = |part: &str| {
            let pair = format!("v={}", part.replace('+', "%2B"));
            url::form_urlencoded::parse(pair.as_bytes())
                .next()
                .map(|(_, value)| value.into_owned())
                .unwrap_or_default()
        };
        let path = request.url.path().trim_start_matches('/');
        let path = path.strip_prefix("v1/").unwrap_or(path);
        let authorization = request.headers.get("authorization").and_then(|value| value.to_str().ok());
        Self {
            method: request.method.to_string(),
            path: path.split('/').map(decode).collect(),
            query: request.url.query_pairs().into_owned().collect(),
            body: serde_json::from_slice(&request.body).unwrap_or(Value::Null),
            authorization: authorization.map(str::to_owned),
        }
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.query.get(key).map(String::as_str)
    }

    /// A text of the body.
    pub(super) fn field(&self, key: &str) -> Option<String> {
        self.body.get(key)?.as_str().map(str::to_owned)
    }

    /// A text of the body that has to be there.
    pub(super) fn required(&self, key: &str) -> Result<String, Problem> {
        self.field(key)
            .filter(|text| !text.is_empty())
            .ok_or_else(|| Problem::invalid(key, "is_required", &Value::Null))
    }
}

/// What is answered.
pub(super) struct Answer {
    status: u16,
    data: Option<Value>,
    message: Option<&'static str>,
    meta: Map<String, Value>,
}

impl Answer {
    pub(super) fn ok(data: Value) -> Self {
        Self { status: 200, data: Some(data), message: None, meta: Map::new() }
    }

    pub(super) fn created(data: Value) -> Self {
        Self { status: 201, ..Self::ok(data) }
    }

    pub(super) fn message(message: &'static str) -> Self {
        Self { status: 200, data: None, message: Some(message), meta: Map::new() }
    }

    pub(super) fn nothing() -> Self {
        Self { status: 204, data: None, message: None, meta: Map::new() }
    }

    pub(super) fn meta(mut self, key: &str, value: Value) -> Self {
        self.meta.insert(key.to_owned(), value);
        self
    }
}

/// What is refused.
pub(super) struct Problem {
    status: u16,
    code: &'static str,
    message: String,
    details: Value,
}

impl Problem {
    pub(super) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), details: json!({}) }
    }

    pub(super) fn not_found(resource: &str, id: &str) -> Self {
        let problem = Self::new(404, "RESOURCE_NOT_FOUND", "Requested resource does not exist");
        Self { details: json!({ "resource": resource, "id": id }), ..problem }
    }

    pub(super) fn invalid(field: &str, reason: &str, value: &Value) -> Self {
        let problem = Self::new(422, "VALIDATION_ERROR", "One or more validation errors occurred");
        Self { details: json!({ "field": field, "reason": reason, "provided_value": value }), ..problem }
    }

    pub(super) fn conflict(field: &str, reason: &str) -> Self {
        let problem = Self::new(409, "RESOURCE_CONFLICT", "Resource name or identifier conflicts");
        Self { details: json!({ "field": field, "reason": reason }), ..problem }
    }
}

/// When everything happens here.
pub(super) const NOW: &str = "2025-07-29T12:00:00Z";

pub(super) fn respond(world: &mut World, answer: Result<Answer, Problem>) -> ResponseTemplate {
    world.requests += 1;
    let mut meta = Map::new();
    meta.insert("request_id".to_owned(), json!(format!("req_{:010}", world.requests)));
    meta.insert("timestamp".to_owned(), json!(NOW));
    let response = match answer {
        Ok(answer) if answer.status == 204 => ResponseTemplate::new(204),
        Ok(answer) => {
            meta.extend(answer.meta);
            let mut body = json!({ "success": true, "meta": meta });
            let named = [("data", answer.data), ("message", answer.message.map(|text| json!(text)))];
            if let Value::Object(body) = &mut body {
                body.extend(named.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
            }
            ResponseTemplate::new(answer.status).set_body_json(body)
        }
        Err(problem) => {
            let error =
                json!({ "code": problem.code, "message": problem.message, "details": problem.details });
            let body = json!({ "success": false, "error": error, "meta": meta });
            let response = ResponseTemplate::new(problem.status).set_body_json(body);
            if problem.status == 429 { response.insert_header("Retry-After", "2") } else { response }
        }
    };
    response
        .insert_header("X-RateLimit-Limit", "1000")
        .insert_header("X-RateLimit-Remaining", world.calls_left.to_string())
        .insert_header("X-RateLimit-Reset", "1627834800")
        .insert_header("X-RateLimit-Window", "3600")
}

/// Cuts the page that is asked for.
pub(super) fn page(all: &[Value], key: &str, call: &Call) -> Result<Answer, Problem> {
    let number = |name: &str, least: usize, most: usize, usual: usize| match call.text(name) {
        None => Ok(usual),
        Some(text) => match text.parse::<usize>() {
            Ok(number) if (least..=most).contains(&number) => Ok(number),
            _ => Err(Problem::invalid(name, "out_of_range", &json!(text))),
        },
    };
    let limit = number("limit", 1, 200, 50)?;
    let offset = match call.text("cursor") {
        Some(cursor) => cursor
            .strip_prefix("eyJh")
            .and_then(|cursor| cursor.parse().ok())
            .ok_or_else(|| Problem::invalid("cursor", "is_unknown", &json!(cursor)))?,
        None => number("offset", 0, usize::MAX, 0)?,
    };
    let cursor = |at: usize| format!("eyJh{at}");
    let items: Vec<&Value> = all.iter().skip(offset).take(limit).collect();
    let end = offset.saturating_add(items.len());
    let next = (end < all.len()).then(|| cursor(end));
    let previous = (offset > 0).then(|| cursor(offset.saturating_sub(limit)));
    let pagination = json!({
        "total": all.len(), "limit": limit, "offset": offset, "pages": all.len().div_ceil(limit),
        "current_page": offset / limit + 1, "has_next": next.is_some(), "has_previous": previous.is_some(),
        "next_cursor": next, "previous_cursor": previous,
    });
    let mut data = Map::new();
    data.insert(key.to_owned(), json!(items));
    data.insert("pagination".to_owned(), pagination);
    Ok(Answer::ok(Value::Object(data)).meta("execution_time_ms", json!(1)))
}

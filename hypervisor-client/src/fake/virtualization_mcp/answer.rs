//! The two shapes of answers.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use wiremock::{Request, ResponseTemplate};

/// What a request asks.
pub(super) struct Call {
    pub(super) method: String,
    pub(super) path: Vec<String>,
    pub(super) query: BTreeMap<String, String>,
    pub(super) body: Value,
    pub(super) form: BTreeMap<String, String>,
    pub(super) key: Option<String>,
    pub(super) authorization: Option<String>,
    url: String,
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
        let path = path.strip_prefix("api/v1/").unwrap_or(path);
        let header =
            |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Self {
            method: request.method.to_string(),
            path: path.split('/').map(decode).collect(),
            query: request.url.query_pairs().into_owned().collect(),
            body: serde_json::from_slice(&request.body).unwrap_or(Value::Null),
            form: url::form_urlencoded::parse(&request.body).into_owned().collect(),
            key: header("x-api-key"),
            authorization: header("authorization"),
            url: request.url.path().to_owned(),
        }
    }

    /// A text of the body.
    pub(super) fn field(&self, key: &str) -> Option<&str> {
        self.body.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// A text of the body that has to be there.
    pub(super) fn required(&self, key: &str) -> Result<String, Failure> {
        self.field(key).map(str::to_owned).ok_or_else(|| Failure::missing(key))
    }
}

/// What is answered.
pub(super) enum Told {
    /// An object. The server puts `"status": "success"` into it, the document puts it into `data`.
    Object(Value),
    /// An object that both give as it is.
    Bare(Value),
    /// A list.
    List(&'static str, Vec<Value>),
    /// A picture.
    Picture(&'static [u8]),
}

/// What is refused.
pub(super) struct Failure {
    /// The status, and what the server puts into its body.
    served: Box<(u16, Value)>,
    status: u16,
    code: &'static str,
    message: String,
    details: Value,
    retry_after: Option<u64>,
}

impl Failure {
    pub(super) fn new(
        status: u16,
        code: &'static str,
        message: impl Into<String>,
        served: (u16, Value),
    ) -> Self {
        Self {
            served: Box::new(served),
            status,
            code,
            message: message.into(),
            details: json!({}),
            retry_after: None,
        }
    }

    /// As FastAPI tells it.
    pub(super) fn detail(status: u16, message: impl Into<String>) -> Self {
        let message = message.into();
        let code = match status {
            401 => "UNAUTHORIZED",
            404 => "NOT_FOUND",
            429 => "RATE_LIMIT_EXCEEDED",
            _ => "INTERNAL_SERVER_ERROR",
        };
        Self::new(status, code, message.clone(), (status, json!({ "detail": message })))
    }

    pub(super) fn missing(field: &str) -> Self {
        let detail =
            json!([{ "type": "missing", "loc": ["body", field], "msg": "Field required", "input": {} }]);
        let failure = Self::new(
            400,
            "INVALID_REQUEST",
            format!("{field} is required"),
            (422, json!({ "detail": detail })),
        );
        Self { details: json!({ "field": field, "reason": "Field required" }), ..failure }
    }

    pub(super) fn details(mut self, details: Value) -> Self {
        self.details = details;
        self
    }

    pub(super) fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }
}

pub(super) fn respond(served: bool, told: Result<Told, Failure>, call: &Call) -> ResponseTemplate {
    match (told, served) {
        (Ok(Told::Picture(bytes)), _) => ResponseTemplate::new(200).set_body_raw(bytes, "image/png"),
        (Ok(Told::Bare(body)), _) => ResponseTemplate::new(200).set_body_json(body),
        (Ok(Told::Object(body)), true) => {
            let mut all = json!({ "status": "success" });
            if let (Value::Object(all), Value::Object(body)) = (&mut all, body) {
                all.extend(body);
            }
            ResponseTemplate::new(200).set_body_json(all)
        }
        (Ok(Told::Object(body)), false) => {
            ResponseTemplate::new(200).set_body_json(envelope(&body, json!({})))
        }
        (Ok(Told::List("templates", items)), true) => {
            ResponseTemplate::new(200).set_body_json(json!({ "templates": items }))
        }
        (Ok(Told::List(key, items)), true) => {
            let mut all = Map::new();
            all.insert("status".to_owned(), json!("success"));
            all.insert(key.to_owned(), json!(items));
            ResponseTemplate::new(200).set_body_json(all)
        }
        (Ok(Told::List(_, items)), false) => page(&items, call),
        (Err(failure), true) => ResponseTemplate::new(failure.served.0).set_body_json(failure.served.1),
        (Err(failure), false) => {
            let body = json!({
                "status": "error", "data": null,
                "error": { "code": failure.code, "message": failure.message, "details": failure.details },
            });
            let response = ResponseTemplate::new(failure.status).set_body_json(body);
            match failure.retry_after {
                Some(seconds) => response.insert_header("Retry-After", seconds.to_string()),
                None => response,
            }
        }
    }
}

fn envelope(data: &Value, meta: Value) -> Value {
    json!({ "status": "success", "data": data, "meta": meta, "error": null })
}

/// Cuts the page that is asked for, and keeps the fields that are wanted.
fn page(all: &[Value], call: &Call) -> ResponseTemplate {
    let number = |name: &str, usual: usize| {
        call.query.get(name).and_then(|text| text.parse().ok()).unwrap_or(usual).max(1)
    };
    let (page, per_page) = (number("page", 1), number("per_page", 20).min(100));
    let pages = all.len().div_ceil(per_page).max(1);
    let mut items: Vec<Value> =
        all.iter().skip((page - 1).saturating_mul(per_page)).take(per_page).cloned().collect();
    if let Some(fields) = call.query.get("fields") {
        let wanted: Vec<&str> = fields.split(',').collect();
        for item in items.iter_mut().filter_map(Value::as_object_mut) {
            item.retain(|name, _| wanted.contains(&name.as_str()));
        }
    }
    let link =
        |page: usize, rel: &str| format!("<{}?page={page}&per_page={per_page}>; rel=\"{rel}\"", call.url);
    let mut links = vec![link(1, "first"), link(pages, "last")];
    if page > 1 {
        links.push(link(page - 1, "prev"));
    }
    if page < pages {
        links.push(link(page + 1, "next"));
    }
    ResponseTemplate::new(200)
        .set_body_json(envelope(&json!(items), json!({ "page": page })))
        .insert_header("X-Total-Count", all.len().to_string())
        .insert_header("X-Page", page.to_string())
        .insert_header("X-Per-Page", per_page.to_string())
        .insert_header("X-Total-Pages", pages.to_string())
        .insert_header("Link", links.join(", "))
}

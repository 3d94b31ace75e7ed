//! Twilio's own description of the one request that is sent to it, and who is asked by it.

use std::sync::LazyLock;

use base64::{Engine, engine::general_purpose::STANDARD};
use jsonschema::Validator;
use serde_json::{Map, Value, json};
use url::form_urlencoded;

use super::Received;

/// The account that the gateway knows.
pub(crate) const ACCOUNT_SID: &str = "AC0123456789abcdef0123456789abcdef";

/// Its secret.
pub(crate) const AUTH_TOKEN: &str = "twilio-hush-hush";

/// A messaging service of the account.
pub(crate) const SERVICE_SID: &str = "MGfedcba9876543210fedcba9876543210";

const PATH: &str = "/2010-04-01/Accounts/{AccountSid}/Messages.json";

static DESCRIPTION: LazyLock<Value> = LazyLock::new(|| {
    let mut description: Value =
        serde_json::from_str(include_str!("../data/twilio/messages-openapi.json")).unwrap();
    without_nullable(&mut description);
    description
});

static REQUEST: LazyLock<Validator> = LazyLock::new(|| {
    let content = &operation()["requestBody"]["content"];
    let mut schema = content["application/x-www-form-urlencoded"]["schema"].clone();
    // The description lists all fields there are.
    schema["additionalProperties"] = json!(false);
    validator(schema)
});

static RESPONSE: LazyLock<Validator> = LazyLock::new(|| {
    validator(operation()["responses"]["201"]["content"]["application/json"]["schema"].clone())
});

static PARAMETER: LazyLock<Validator> =
    LazyLock::new(|| validator(operation()["parameters"][0]["schema"].clone()));

fn operation() -> &'static Value {
    &DESCRIPTION["paths"][PATH]["post"]
}

/// `nullable` is a word of OpenAPI 3.0 only.
fn without_nullable(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            if members.remove("nullable") == Some(Value::Bool(true)) {
                let kind = members["type"].clone();
                members.insert("type".to_owned(), json!([kind, "null"]));
            }
            members.values_mut().for_each(without_nullable);
        }
        Value::Array(elements) => elements.iter_mut().for_each(without_nullable),
        _ => {}
    }
}

fn validator(mut schema: Value) -> Validator {
    schema["components"] = DESCRIPTION["components"].clone();
    jsonschema::draft202012::new(&schema).unwrap()
}

/// `None` for what is not meant for Twilio; else the message resource that is made of the request,
/// or what is wrong with it.
pub(super) fn verdict(request: &Received) -> Option<Result<Value, String>> {
    let (before, after) = PATH.split_once("{AccountSid}").unwrap();
    if !request.target.starts_with(before) {
        return None;
    }
    let account = request.target.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
    Some(account.ok_or("no such path").map_err(str::to_owned).and_then(|account| {
        let fields = checked(request, account)?;
        let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
        let mut resource = message(&text("To").unwrap(), "queued", None);
        resource["from"] = json!(text("From"));
        resource["messaging_service_sid"] = json!(text("MessagingServiceSid"));
        resource["body"] = json!(text("Body"));
        if fields.contains_key("MessagingServiceSid") {
            resource["status"] = json!("accepted");
        }
        valid(&RESPONSE, &resource)?;
        Ok(resource)
    }))
}

fn checked(request: &Received, account: &str) -> Result<Map<String, Value>, String> {
    let header = |name: &str| request.headers.get(name).map_or("", String::as_str);
    must(request.method == "POST", "the method")?;
    valid(&PARAMETER, &json!(account))?;
    must(header("content-type") == "application/x-www-form-urlencoded", "the content type")?;
    let login = STANDARD.encode(format!("{ACCOUNT_SID}:{AUTH_TOKEN}"));
    must(header("authorization") == format!("Basic {login}"), "the login")?;
    let mut fields = Map::new();
    for (name, value) in form_urlencoded::parse(request.body.as_bytes()) {
        let twice = fields.insert(name.to_string(), typed(&name, &value));
        must(twice.is_none(), "a field that is given twice")?;
    }
    valid(&REQUEST, &Value::Object(fields.clone()))?;
    // `x-twilio.conditional` in the description.
    let has = |names: &[&str]| names.iter().any(|name| fields.contains_key(*name));
    must(has(&["From", "MessagingServiceSid"]), "no sender")?;
    must(has(&["Body", "MediaUrl", "ContentSid"]), "no content")?;
    // `format: phone-number` is for people: E.164.
    let to = fields["To"].as_str().unwrap().strip_prefix('+').unwrap_or_default();
    let is_number = (5..=15).contains(&to.len()) && to.bytes().all(|byte| byte.is_ascii_digit());
    must(is_number, "a number that is not E.164")?;
    let length = fields["Body"].as_str().unwrap().chars().count();
    must((1..=1600).contains(&length), "the length of the text")?;
    Ok(fields)
}

/// A field of a form as the type that the description gives it.
fn typed(name: &str, value: &str) -> Value {
    let content = &operation()["requestBody"]["content"];
    let schemas = &content["application/x-www-form-urlencoded"]["schema"]["properties"];
    match schemas[name]["type"].as_str() {
        Some("boolean" | "integer" | "number") => {
            serde_json::from_str(value).unwrap_or_else(|_| json!(value))
        }
        Some("array") => json!([value]),
        _ => json!(value),
    }
}

fn valid(validator: &Validator, value: &Value) -> Result<(), String> {
    let faults: Vec<_> = validator
        .iter_errors(value)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    must(faults.is_empty(), &faults.join("; "))
}

fn must(condition: bool, fault: &str) -> Result<(), String> {
    if condition { Ok(()) } else { Err(format!("Twilio would refuse this: {fault}")) }
}

/// Twilio's message resource.
pub(super) fn message(to: &str, status: &str, code: Option<i64>) -> Value {
    let sid = "SM00112233445566778899aabbccddeeff";
    json!({
        "account_sid": ACCOUNT_SID, "api_version": "2010-04-01", "body": "",
        "date_created": "Thu, 24 Aug 2023 05:01:45 +0000", "date_sent": null,
        "date_updated": "Thu, 24 Aug 2023 05:01:45 +0000", "direction": "outbound-api",
        "error_code": code, "error_message": code.map(|_| format!("{to} did not get it")),
        "from": "+15005550006", "messaging_service_sid": null, "num_media": "0",
        "num_segments": "1", "price": null, "price_unit": null, "sid": sid, "status": status,
        "subresource_uris": {
            "media": format!("/2010-04-01/Accounts/{ACCOUNT_SID}/Messages/{sid}/Media.json")
        },
        "to": to, "uri": format!("/2010-04-01/Accounts/{ACCOUNT_SID}/Messages/{sid}.json"),
    })
}

/// Twilio's answer to what it does not do.
pub(super) fn refusal(status: u16, code: i64) -> Value {
    json!({
        "code": code, "status": status,
        "message": "The 'To' number +447700900001 is not one that 'Code: 123456' could go to.",
        "more_info": format!("https://www.twilio.com/docs/errors/{code}"),
    })
}

//! AWS Systems Manager: `GetParametersByPath` (API model `ssm-2014-11-06`, AWS JSON 1.1).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::clean_rooms::unsigned;
use crate::http::{Reply, Request, refusal};

/// The most parameters of a page.
const PAGE: usize = 10;

/// Lists the parameters directly under a path.
pub(crate) fn get_parameters_by_path(
    request: &Request,
    parameters: &BTreeMap<String, String>,
) -> Reply {
    if let Some(refusal) = unsigned(request, "ssm") {
        return refusal;
    }
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let path = body["Path"].as_str().unwrap_or_default();
    if !path.starts_with('/') {
        return refusal(
            400,
            "ValidationException",
            "the parameter path must begin with a slash",
        );
    }
    let prefix = format!("{}/", path.trim_end_matches('/'));
    let under = parameters.iter().filter(|(name, _)| {
        let rest = name.strip_prefix(&prefix);
        rest.is_some_and(|rest| !rest.contains('/'))
    });
    let under: Vec<Value> = under
        .map(
            |(name, value)| json!({ "Name": name, "Type": "String", "Value": value, "Version": 1 }),
        )
        .collect();
    let from = body["NextToken"].as_str();
    let from = from.and_then(|token| token.parse().ok()).unwrap_or(0);
    let page: Vec<&Value> = under.iter().skip(from).take(PAGE).collect();
    let mut answer = json!({ "Parameters": page });
    if from + PAGE < under.len() {
        answer["NextToken"] = json!((from + PAGE).to_string());
    }
    Reply::json(200, &answer)
}

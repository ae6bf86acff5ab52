//! The queries of the dashboard and of the alerts, and what Prometheus answers.

use std::fmt;
use std::fs;

use serde_json::Value;

use crate::program::{config, escaped, get_json};

/// A query, and whose it is.
#[derive(Debug)]
pub(crate) enum Query {
    Metrics { of: String, text: String },
    Traces { of: String, text: String },
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Query::Metrics { of, text } | Query::Traces { of, text }) = self;
        write!(f, "an answer to {of}: {text}")
    }
}

pub(crate) fn all() -> Vec<Query> {
    dashboard().into_iter().chain(rules()).collect()
}

/// The queries of the dashboard, as Grafana sends them.
fn dashboard() -> Vec<Query> {
    let text = fs::read_to_string(config("grafana-dashboard.json")).expect("the dashboard");
    let dashboard: Value = serde_json::from_str(&text).expect("JSON");
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().map_or(&[][..], Vec::as_slice) {
            let of = format!("panel {}", panel["title"]);
            let filled = |text: &Value| {
                let text = text.as_str().expect("a query").replace("$cluster", "demo");
                let text = text.replace("$__rate_interval", "1m");
                assert!(!text.contains('$'), "a variable that is not known: {text}");
                text
            };
            queries.push(if target["queryType"] == "traceql" {
                Query::Traces { of, text: filled(&target["query"]) }
            } else {
                Query::Metrics { of, text: filled(&target["expr"]) }
            });
        }
    }
    queries
}

/// The expressions of the alerts without what they are compared with: an alert that is at rest answers nothing.
pub(crate) fn rules() -> Vec<Query> {
    let text = fs::read_to_string(config("rules.yaml")).expect("the rules");
    let mut queries = Vec::new();
    let mut alert = String::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("- alert: ") {
            name.clone_into(&mut alert);
        } else if let Some(whole) = line.strip_prefix("expr: ") {
            let end = [" > ", " == ", " < "].into_iter().filter_map(|sign| whole.rfind(sign)).max();
            let text = whole[..end.expect("an alert compares")].to_owned();
            queries.push(Query::Metrics { of: format!("alert {alert}"), text });
        }
    }
    queries
}

/// The values that Prometheus answers with: one for each series.
pub(crate) fn measured(address: &str, query: &str) -> Option<Vec<f64>> {
    let answer = get_json(address, &format!("/api/v1/query?query={}", escaped(query)))?;
    assert_eq!(answer["status"], "success", "{query}: {answer}");
    let value = |series: &Value| series["value"][1].as_str()?.parse().ok();
    let values: Vec<f64> = answer["data"]["result"].as_array()?.iter().filter_map(value).collect();
    Some(values).filter(|values| !values.is_empty())
}

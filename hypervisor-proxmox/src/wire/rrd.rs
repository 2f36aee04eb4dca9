//! `rrddata`: load over time.

use std::collections::BTreeMap;
use std::time::Duration;

use hypervisor_core::Result;
use hypervisor_core::model::{MetricsHistory, MetricsPeriod};
use serde_json::{Map, Value};

use super::scalar::{Scalar, text_of};
use super::storage::time;

/// The parameters of a history.
#[must_use]
pub fn query(period: MetricsPeriod) -> super::form::Form {
    super::form::Form::new().text("timeframe", period.as_str()).text("cf", "AVERAGE")
}

/// What the model calls a series; others keep the server's name.
fn series_name(key: &str) -> &str {
    match key {
        "cpu" => "cpu_usage",
        "mem" | "memused" => "memory_used",
        "maxmem" | "memtotal" => "memory_total",
        "diskread" => "disk_read",
        "diskwrite" => "disk_written",
        "netin" => "net_received",
        "netout" => "net_sent",
        other => other,
    }
}

/// Whether a refusal says that nothing was written yet, as it is in the first seconds of a guest.
#[must_use]
pub fn is_not_begun(error: &hypervisor_core::Error) -> bool {
    error.message().contains("RRD error") && error.message().contains("No such file")
}

/// A history in which nothing was measured.
#[must_use]
pub fn empty() -> MetricsHistory {
    MetricsHistory::new(Duration::ZERO, Vec::new())
}

/// Reads a history. A time at which nothing was measured has no value.
///
/// # Errors
/// `Protocol` where the answer is no such list.
pub fn history(body: &[u8]) -> Result<MetricsHistory> {
    let rows: Vec<Map<String, Value>> = super::envelope::data(body)?;
    let number = |value: &Value| text_of(value).and_then(|text| f64::from_text(&text));
    let stamp =
        |row: &Map<String, Value>| row.get("time").and_then(text_of).and_then(|text| u64::from_text(&text));
    let mut points: Vec<(u64, Map<String, Value>)> =
        rows.into_iter().filter_map(|row| Some((stamp(&row)?, row))).collect();
    points.sort_by_key(|(at, _)| *at);
    let step = match points.as_slice() {
        [(first, _), (second, _), ..] => second.saturating_sub(*first),
        _ => 0,
    };
    let mut series: BTreeMap<String, Vec<Option<f64>>> = BTreeMap::new();
    for (index, (_, row)) in points.iter().enumerate() {
        for (key, value) in row.iter().filter(|(key, _)| *key != "time") {
            let values = series.entry(series_name(key).to_owned()).or_default();
            values.resize(index, None);
            values.push(number(value));
        }
    }
    let times = points.iter().map(|(at, _)| time(*at)).collect();
    let history = MetricsHistory::new(Duration::from_secs(step), times);
    Ok(series.into_iter().fold(history, |history, (name, values)| history.with_series(name, values)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_stay_gaps() {
        let body = br#"{"data":[{"time":1000},{"time":1060,"cpu":0.5,"netin":"2.5"},{"time":1120,"netin":null},{"time":1180,"cpu":1}]}"#;
        let history = history(body).unwrap();
        assert_eq!((history.step, history.times.len()), (Duration::from_secs(60), 4));
        assert_eq!(history.series["cpu_usage"], [None, Some(0.5), None, Some(1.0)]);
        assert_eq!(history.series["net_received"], [None, Some(2.5), None, None]);
    }
}

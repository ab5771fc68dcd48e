//! Events as vmlab wrote them before targets and jobs had names of their own (until November 2026), brought to today's
//! form.

use serde_json::{Map, Value, json};

/// Renames what has another name today. Gives `false` where nothing had to be renamed.
pub(super) fn upgrade(event: &mut Value) -> bool {
    let Some(fields) = event.as_object_mut() else { return false };
    let tag = fields.get("event").and_then(Value::as_str).unwrap_or_default();
    let renamed = match tag {
        "scenario_started" => Some("job_started"),
        "scenario_attempted" => Some("job_attempted"),
        "scenario_finished" => Some("job_finished"),
        _ => None,
    };
    let is_start = tag == "run_started";
    let mut changed = renamed.is_some();
    if let Some(tag) = renamed {
        fields.insert("event".to_owned(), tag.into());
    }
    changed |= rename(fields, "kernel", "target", |label| label);
    changed |= rename(fields, "scenario", "job", job);
    if is_start {
        changed |= rename(fields, "kernels", "targets", |labels| labels);
        changed |= rename(fields, "scenarios", "jobs", jobs);
    }
    changed
}

fn rename(fields: &mut Map<String, Value>, old: &str, new: &str, convert: fn(Value) -> Value) -> bool {
    let Some(value) = fields.remove(old) else { return false };
    fields.insert(new.to_owned(), convert(value));
    true
}

/// A job, of the name of its scenario; none stays none.
fn job(scenario: Value) -> Value {
    if scenario.is_null() { scenario } else { json!({ "scenario": scenario }) }
}

fn jobs(scenarios: Value) -> Value {
    match scenarios {
        Value::Array(scenarios) => scenarios.into_iter().map(job).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use crate::{fixture, log};

    /// The fixture as vmlab wrote it in November 2026.
    const WRITTEN: &[u8] = include_bytes!("2026-11.jsonl");

    #[test]
    fn a_run_recorded_before_targets_and_jobs_reads_as_the_same_run_today() {
        let read = log::read(WRITTEN).unwrap();
        assert_eq!(read.notices, [""; 0]);
        assert_eq!(read.events, fixture::run());
    }
}

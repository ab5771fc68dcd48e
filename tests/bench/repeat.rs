//! Whether the figures of measuring scenarios repeat over boots.

use std::collections::BTreeMap;

use vmlab_events::event::LabEvent;
use vmlab_events::text;

use crate::series::{Bar, against, heading};
use crate::vmlab::{Outcome, Vmlab, failed};

/// The number of boots.
const BOOTS: usize = 3;
/// The filter that selects all measuring scenarios.
const ALL: &str = "measure.";

/// The medians of an operation, from each boot that has a valid one, by scenario and operation.
type Medians = BTreeMap<(String, String), Vec<u64>>;

/// Boots a guest for each measuring scenario, several times, and compares the medians of each operation.
pub fn measure(lab: &Vmlab) -> Outcome<()> {
    heading("costs over three boots: by how much the greatest median is above the least, at most, per scenario");
    let mut medians = Medians::new();
    for _ in 0..BOOTS {
        add(&mut medians, &lab.run_to_the_end(["--measure", "--isolation", "boot", ALL])?.events);
    }
    let mut worst: BTreeMap<&str, (f64, &str)> = BTreeMap::new();
    for ((job, operation), medians) in &medians {
        if medians.len() < BOOTS {
            println!("  {job}: {operation}: INVALID in {} of {BOOTS} boots", BOOTS - medians.len());
            continue;
        }
        let percent = difference_percent(medians);
        let most = worst.entry(job).or_insert((percent, operation));
        if percent > most.0 {
            *most = (percent, operation);
        }
    }
    if worst.is_empty() {
        return Err(failed(format!("no figure is valid in {BOOTS} boots")));
    }
    for (job, (percent, operation)) in worst {
        against(&format!("{job}: {operation}"), "%", percent, Bar::AtMost(2.0));
    }
    Ok(())
}

fn add(medians: &mut Medians, events: &[LabEvent]) {
    for event in events {
        let LabEvent::JobFinished(report) = event else { continue };
        for figure in text::measured(report).0 {
            let of_operation = medians.entry((report.job.name().to_owned(), figure.operation.clone())).or_default();
            if figure.is_valid() {
                of_operation.push(figure.median_milli);
            }
        }
    }
}

/// By how much the greatest value is above the least, in percent.
#[expect(clippy::cast_precision_loss, reason = "costs are far below 2^53 thousandths")]
fn difference_percent(values: &[u64]) -> f64 {
    let (least, most) = (values.iter().min().copied().unwrap_or(0), values.iter().max().copied().unwrap_or(0));
    (most - least) as f64 * 100.0 / least.max(1) as f64
}

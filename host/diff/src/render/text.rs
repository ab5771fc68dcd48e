//! Lines for a terminal or a mail.

use vmlab_events::text::cost;

use super::{Comparison, about, change, summary};
use crate::change::{Brief, Change, Kind};
use crate::cost::Cost;
use crate::difference::Difference;
use crate::kernel_report::KernelReport;

/// Jobs of a kernel's report that are named; the others are counted.
const JOBS: usize = 3;

pub(super) fn render(comparison: &Comparison) -> String {
    let mut out: String = comparison.pairs.iter().map(pair).collect::<Vec<_>>().join("\n");
    for (which, targets) in [("old", &comparison.only_old), ("new", &comparison.only_new)] {
        if !targets.is_empty() {
            out.push_str(&format!("\nonly in the {which} run: {}\n", targets.join(", ")));
        }
    }
    out
}

fn pair(difference: &Difference) -> String {
    let sides = [about(&difference.old), about(&difference.new)];
    let width = |part: usize| sides.iter().map(|side| side[part].chars().count()).max().unwrap_or(0);
    let (first, second) = (width(0), width(1));
    let mut out = String::new();
    for (name, [target, release, run]) in ["old", "new"].iter().zip(&sides) {
        let line = format!("{name}  {target:first$}  {release:second$}  {run}");
        out.push_str(line.trim_end());
        out.push('\n');
    }
    difference.options.iter().for_each(|option| out.push_str(&format!("different {option}\n")));
    for kind in Kind::ALL {
        let width = difference.of_kind(kind).map(|change| change.job.chars().count()).max().unwrap_or(0);
        section(&mut out, kind.name(), difference.of_kind(kind).map(|change| line(change, width)));
    }
    section(&mut out, "new on the kernel's console", difference.new_reports.iter().map(report));
    section(&mut out, "gone from the kernel's console", difference.gone_reports.iter().map(report));
    section(&mut out, "costs that changed by more than they vary", costs(&difference.costs).into_iter());
    out.push_str(&format!("\n{}\n", summary(difference)));
    out
}

fn section(out: &mut String, head: &str, lines: impl Iterator<Item = String>) {
    let lines: Vec<_> = lines.map(|line| format!("  {}\n", line.trim_end())).collect();
    if !lines.is_empty() {
        out.push_str(&format!("\n{head} ({})\n{}", lines.len(), lines.concat()));
    }
}

/// `uts.hostname  PASS -> FAIL: the hostname is not isolated`
fn line(Change { job, old, new, .. }: &Change, width: usize) -> String {
    let label = |brief: &Option<Brief>| brief.as_ref().map_or("-", |brief| brief.verdict.as_str()).to_owned();
    // The new result says what there is to do, unless it is good: then the old one does.
    let detail = [new, old].into_iter().flatten().map(|brief| brief.detail.as_str()).find(|detail| !detail.is_empty());
    let detail = detail.map(|detail| format!(": {detail}")).unwrap_or_default();
    format!("{job:width$}  {} -> {}{detail}", label(old), label(new))
}

fn report(KernelReport { fingerprint, title, jobs }: &KernelReport) -> String {
    let named = jobs.iter().take(JOBS).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = jobs.len().saturating_sub(JOBS);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("{title}  [{fingerprint}] in {named}{more}")
}

fn costs(costs: &[Cost]) -> Vec<String> {
    let cells: Vec<[String; 3]> = costs
        .iter()
        .map(|of| {
            let both = format!("{} -> {} {}", cost(of.old_milli), cost(of.new_milli), of.unit.name());
            [format!("{}: {}", of.job, of.operation), change(of.change_permille), both]
        })
        .collect();
    let width = |column: usize| cells.iter().map(|cells| cells[column].chars().count()).max().unwrap_or(0);
    let (first, second) = (width(0), width(1));
    cells.iter().map(|[name, change, both]| format!("{name:first$}  {change:>second$}  {both}")).collect()
}

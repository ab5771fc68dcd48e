//! Tables for a cover letter or a pull request.

use vmlab_events::markdown::{code, escape, table};
use vmlab_events::text::cost;

use super::{Comparison, about, change, summary};
use crate::change::{Brief, Change, Kind};
use crate::difference::Difference;
use crate::kernel_report::KernelReport;

pub(super) fn render(comparison: &Comparison) -> String {
    let mut out: String = comparison.pairs.iter().map(pair).collect::<Vec<_>>().join("\n");
    for (which, targets) in [("old", &comparison.only_old), ("new", &comparison.only_new)] {
        if !targets.is_empty() {
            let names: Vec<_> = targets.iter().map(|target| code(target)).collect();
            out.push_str(&format!("\nOnly in the {which} run: {}\n", names.join(", ")));
        }
    }
    out
}

fn pair(difference: &Difference) -> String {
    let ([old, ..], [new, ..]) = (about(&difference.old), about(&difference.new));
    let mut out = format!("## {} to {}\n\n**{}**\n\n", escape(&old), escape(&new), escape(&summary(difference)));
    let sides = [("old", &difference.old), ("new", &difference.new)].into_iter().map(|(name, side)| {
        let [target, release, run] = about(side);
        vec![name.to_owned(), escape(&target), escape(&release), escape(&run)]
    });
    out.push_str(&table(&heads(&["", "kernel", "release", "run"]), sides));
    difference.options.iter().for_each(|option| out.push_str(&format!("\nDifferent {}\n", escape(option))));
    let changes: Vec<_> = Kind::ALL.iter().flat_map(|kind| difference.of_kind(*kind)).map(row).collect();
    section(&mut out, "Jobs", &["", "job", "old", "new", "why"], changes);
    let reports = [("new", &difference.new_reports), ("gone", &difference.gone_reports)];
    let reports = reports.into_iter().flat_map(|(what, reports)| reports.iter().map(move |of| report(what, of)));
    section(&mut out, "The kernel's console", &["", "report", "fingerprint", "jobs"], reports.collect());
    let costs = difference.costs.iter().map(|of| {
        let costs = [of.old_milli, of.new_milli].map(|milli| format!("{} {}", cost(milli), of.unit.name()));
        let name = escape(&format!("{}: {}", of.job, of.operation));
        [vec![name], costs.to_vec(), vec![change(of.change_permille)]].concat()
    });
    section(
        &mut out,
        "Costs that changed by more than they vary",
        &["operation", "old", "new", "change"],
        costs.collect(),
    );
    out
}

fn section(out: &mut String, title: &str, columns: &[&str], rows: Vec<Vec<String>>) {
    if !rows.is_empty() {
        out.push_str(&format!("\n### {title}\n\n{}", table(&heads(columns), rows.into_iter())));
    }
}

fn heads(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn row(Change { job, kind, old, new }: &Change) -> Vec<String> {
    let label = |brief: &Option<Brief>| brief.as_ref().map_or_else(|| "-".to_owned(), |brief| brief.verdict.clone());
    let detail = [new, old].into_iter().flatten().map(|brief| brief.detail.as_str()).find(|detail| !detail.is_empty());
    vec![kind.name().to_owned(), code(job), label(old), label(new), escape(detail.unwrap_or_default())]
}

fn report(what: &str, KernelReport { fingerprint, title, jobs }: &KernelReport) -> Vec<String> {
    let jobs: Vec<_> = jobs.iter().map(|job| code(job)).collect();
    vec![what.to_owned(), escape(title), code(fingerprint), jobs.join(", ")]
}

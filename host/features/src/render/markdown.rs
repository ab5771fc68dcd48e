//! The table in Markdown, with GitHub's tables.

use vmlab_events::markdown::{code, escape, table};
use vmlab_events::text;

use super::{OTHER_FINDINGS, findings, value};
use crate::findings::Finding;
use crate::results::Kernel;
use crate::table::{Report, Row};
use crate::versions::{Judgement, VersionRow};

pub(super) fn render(report: &Report) -> String {
    let mut out = format!("# Features on {}\n\n", text::count(report.kernels.len(), "kernel"));
    let runs: Vec<_> = report.runs.iter().map(|run| code(run)).collect();
    out.push_str(&format!("Runs: {}\n\n", runs.join(", ")));
    for unfinished in &report.unfinished {
        out.push_str(&format!("**{}**\n\n", escape(&unfinished.sentence())));
    }
    let rows = report.kernels.iter().map(|kernel| {
        [&kernel.short, &kernel.target, &kernel.release, &kernel.machine].map(|text| escape(text)).to_vec()
    });
    out.push_str(&table(&["column", "kernel", "release", "options"].map(str::to_owned), rows));
    let rows = report.counts().into_iter().map(|(kind, numbers)| {
        let mut row = vec![escape(kind.label()), kind.meaning().to_owned()];
        row.extend(numbers.iter().map(usize::to_string));
        row
    });
    out.push('\n');
    out.push_str(&table(&heads(&["result", "meaning"], &report.kernels), rows));
    for group in &report.groups {
        out.push_str(&format!("\n## {}\n\n{}\n\n", escape(&group.title), escape(&group.about)));
        out.push_str(&table(&heads(&["item", "feature"], &report.kernels), group.features.iter().map(cells)));
        group.features.iter().for_each(|row| out.push_str(&details(row, &report.kernels)));
    }
    out.push_str("\n## Differences between kernel versions\n\n");
    out.push_str(&table(&heads(&["row", "check"], &report.kernels), report.versions.iter().map(values)));
    report.versions.iter().for_each(|row| out.push_str(&differences(row, &report.kernels)));
    out.push_str("\n## FINDINGS: where a kernel and a text disagree\n");
    let (of_these, others) = findings(report);
    of_these.into_iter().for_each(|found| out.push_str(&finding(found)));
    if !others.is_empty() {
        let names: Vec<_> = others.into_iter().map(code).collect();
        out.push_str(&format!("\n{OTHER_FINDINGS}{}\n", names.join(", ")));
    }
    out
}

fn heads(first: &[&str], kernels: &[Kernel]) -> Vec<String> {
    let names = first.iter().map(|name| (*name).to_owned());
    names.chain(kernels.iter().map(|kernel| escape(&kernel.heading()))).collect()
}

fn cells(row: &Row) -> Vec<String> {
    let mut cells = vec![code(&row.feature.code), escape(&row.feature.words)];
    cells.extend(row.cells.iter().map(|cell| escape(&cell.text)));
    cells
}

fn details(row: &Row, kernels: &[Kernel]) -> String {
    let feature = &row.feature;
    let names: Vec<_> = row.scenarios.iter().map(|id| code(id.as_str())).collect();
    let mut out = format!("\n- {} {}\n", code(&feature.code), escape(&feature.words));
    let mut line = |head: &str, text: &str| out.push_str(&format!("  - {head}{text}\n"));
    if !feature.asked.is_empty() {
        line("asked by: ", &escape(&feature.asked_by()));
    }
    line("today: ", &escape(&feature.today()));
    line("scenarios: ", &if names.is_empty() { "none".to_owned() } else { names.join(", ") });
    row.notes(kernels).iter().for_each(|note| line("", &escape(note)));
    out
}

fn values(row: &VersionRow) -> Vec<String> {
    let mut cells = vec![code(&row.feature.code), escape(&row.feature.words)];
    cells.extend(row.values.iter().map(|observed| match observed.judgement {
        Judgement::Different => format!("**{}**", escape(&value(observed))),
        _ => escape(&value(observed)),
    }));
    cells
}

fn differences(row: &VersionRow, kernels: &[Kernel]) -> String {
    let pairs = row.values.iter().zip(kernels);
    let notable = pairs.filter(|(value, _)| matches!(value.judgement, Judgement::Different | Judgement::Unclear));
    let line = |(value, kernel): (&crate::versions::Value, &Kernel)| {
        let (at, what) = (code(&row.feature.code), value.judgement.label());
        format!("\n- {at} on {}: {what}: {}\n", escape(&kernel.short), escape(&value.observed))
    };
    notable.map(line).collect()
}

fn finding(finding: &Finding) -> String {
    let Finding { name, features, kernels, says, does, right, source, because, reproduce, prints } = finding;
    let codes: Vec<_> = features.iter().map(|name| code(name)).collect();
    let mut out = format!("\n### {} ({})\n\n", escape(name), codes.join(", "));
    for (head, text) in [
        ("kernels", kernels),
        ("says", says),
        ("does", does),
        ("right is", right),
        ("source", source),
        ("because", because),
    ] {
        out.push_str(&format!("- {head}: {}\n", escape(text)));
    }
    out.push_str(&format!("\n```sh\n{reproduce}\n```\n\nIt prints: {}\n", escape(prints)));
    out
}

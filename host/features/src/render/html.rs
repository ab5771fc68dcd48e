//! The table as one HTML page without scripts. On a narrow screen each feature is a block of its own; the roles of the table
//! are written out, because `display: block` takes them away.

use vmlab_events::text;
use vmlab_protocol::catalogue::ScenarioId;

use super::{OTHER_FINDINGS, findings, value};
use crate::findings::Finding;
use crate::results::Kernel;
use crate::summary::Kind;
use crate::table::{Report, Row, Rows};
use crate::versions::{Judgement, VersionRow};

const STYLE: &str = include_str!("page.css");

pub(super) fn render(report: &Report) -> String {
    let title = format!("Features on {}", text::count(report.kernels.len(), "kernel"));
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>{title}</title>\n<style>\n{STYLE}</style>\n\
         </head>\n<body>\n<header>\n<h1>{title}</h1>\n\
         <p>What the discussion of 2006 asked for, and what came later, as the scenarios of vmlab found it. Runs: {}.</p>\n\
         {}</header>\n",
        code_list(&report.runs.iter().map(String::as_str).collect::<Vec<_>>()),
        report
            .unfinished
            .iter()
            .map(|unfinished| format!("<p><strong>{}</strong></p>\n", escape(&unfinished.sentence())))
            .collect::<String>()
    );
    out.push_str(&contents(report));
    out.push_str("<main>\n");
    out.push_str(&kernels(report));
    for (at, group) in report.groups.iter().enumerate() {
        out.push_str(&section(&format!("group-{at}"), &group.title, &group.about, &features(group, &report.kernels)));
    }
    let about = "The value that was observed, and the expected one where they differ.";
    out.push_str(&section("versions", VERSIONS, about, &versions(&report.versions, &report.kernels)));
    let about = "Where a kernel and a text disagree: who is right, according to the kernel's source.";
    out.push_str(&section("findings", FINDINGS, about, &all_findings(report)));
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

const VERSIONS: &str = "Differences between kernel versions";
const FINDINGS: &str = "FINDINGS";

fn section(id: &str, title: &str, about: &str, body: &str) -> String {
    let (title, about) = (escape(title), escape(about));
    format!("<section aria-labelledby=\"{id}\">\n<h2 id=\"{id}\">{title}</h2>\n<p>{about}</p>\n{body}</section>\n")
}

fn contents(report: &Report) -> String {
    let groups = report.groups.iter().enumerate().map(|(at, group)| (format!("group-{at}"), group.title.as_str()));
    let rest = [("versions", VERSIONS), ("findings", FINDINGS)].map(|(id, title)| (id.to_owned(), title));
    let links = [("kernels".to_owned(), "Kernels and results")].into_iter().chain(groups).chain(rest);
    let links: String =
        links.map(|(id, title)| format!("<li><a href=\"#{id}\">{}</a></li>\n", escape(title))).collect();
    format!("<nav aria-label=\"Contents\">\n<ul>\n{links}</ul>\n</nav>\n")
}

/// A table whose cells keep their meaning on a narrow screen. Each item of `bodies` is the rows of one `tbody`.
fn table(class: &str, caption: &str, heads: &[String], bodies: impl Iterator<Item = String>) -> String {
    let heads: String =
        heads.iter().map(|head| format!("<th role=\"columnheader\" scope=\"col\">{}</th>", escape(head))).collect();
    let bodies: String = bodies.map(|rows| format!("<tbody role=\"rowgroup\">\n{rows}</tbody>\n")).collect();
    format!(
        "<table role=\"table\" class=\"{class}\">\n<caption class=\"hidden\">{}</caption>\n\
         <thead role=\"rowgroup\"><tr role=\"row\">{heads}</tr></thead>\n{bodies}</table>\n",
        escape(caption)
    )
}

/// A row. `first` and the cells are HTML; a cell has the head that names it on a narrow screen. `id` is empty if nothing links
/// to the row.
fn row(id: &str, first: &str, cells: impl Iterator<Item = (String, String)>) -> String {
    let cell =
        |(head, cell): (String, String)| format!("<td role=\"cell\" data-head=\"{}\">{cell}</td>", escape(&head));
    let cells: String = cells.map(cell).collect();
    let id = if id.is_empty() { String::new() } else { format!(" id=\"{}\"", escape(id)) };
    format!("<tr role=\"row\"{id}><th role=\"rowheader\" scope=\"row\">{first}</th>{cells}</tr>\n")
}

fn kernels(report: &Report) -> String {
    let heads = ["column", "kernel", "release", "options"].map(str::to_owned);
    let one = |kernel: &Kernel| {
        let cells = [("kernel", &kernel.target), ("release", &kernel.release), ("options", &kernel.machine)];
        let cells = cells.into_iter().map(|(head, text)| (head.to_owned(), format!("<code>{}</code>", escape(text))));
        row("", &escape(&kernel.short), cells)
    };
    let mut body = table("kernels", "The kernels", &heads, report.kernels.iter().map(one));
    let heads = with_kernels("features", &report.kernels);
    let counts = report.counts().into_iter().map(|(kind, numbers)| {
        let first = format!("{} {}", badge(class(kind), kind.label()), escape(kind.meaning()));
        row(
            "",
            &first,
            report.kernels.iter().zip(numbers).map(|(kernel, n)| (kernel.heading(), format!("<span>{n}</span>"))),
        )
    });
    body.push_str(&table("counts", "How many features come to what on each kernel", &heads, counts));
    section("kernels", "Kernels and results", "What the words of the tables mean, and how often each occurs.", &body)
}

fn with_kernels(first: &str, kernels: &[Kernel]) -> Vec<String> {
    std::iter::once(first.to_owned()).chain(kernels.iter().map(Kernel::heading)).collect()
}

const fn class(kind: Kind) -> &'static str {
    match kind {
        Kind::Works => "works",
        Kind::Incomplete => "incomplete",
        Kind::InPart => "in-part",
        Kind::Leaks => "leaks",
        Kind::LeaksBefore => "leaks-before",
        Kind::Absent => "absent",
        Kind::Measured => "measured",
        Kind::NotMeasured => "not-measured",
        Kind::Skipped => "skipped",
        Kind::Failed => "failed",
        Kind::NoResult => "no-result",
        Kind::NotRun => "not-run",
        Kind::NoScenario => "no-scenario",
    }
}

fn badge(class: &str, text: &str) -> String {
    format!("<span class=\"badge {class}\">{}</span>", escape(text))
}

fn features(group: &Rows, kernels: &[Kernel]) -> String {
    let body = |of: &Row| {
        let first = format!("<code>{}</code>{}", escape(&of.feature.code), escape(&of.feature.words));
        let cells = of.cells.iter().zip(kernels);
        let cells = cells.map(|(cell, kernel)| (kernel.heading(), badge(class(cell.summary.kind), &cell.text)));
        let more = more(of, kernels);
        row(&anchor(&of.feature.code), &first, cells)
            + &format!(
                "<tr role=\"row\" class=\"more\"><td role=\"cell\" colspan=\"{}\">{more}</td></tr>\n",
                kernels.len() + 1
            )
    };
    table("features", &group.title, &with_kernels("feature", kernels), group.features.iter().map(body))
}

/// What is known of a feature besides its cells.
fn more(row: &Row, kernels: &[Kernel]) -> String {
    let feature = &row.feature;
    let asked = if feature.asked.is_empty() { "nobody in 2006".to_owned() } else { feature.asked_by() };
    let scenarios = match row.scenarios.len() {
        0 => "none".to_owned(),
        _ => names(&row.scenarios),
    };
    let notes: String = row.notes(kernels).iter().map(|note| format!("<li>{}</li>", escape(note))).collect();
    let notes = if notes.is_empty() { notes } else { format!("<ul>{notes}</ul>") };
    let count = text::count(row.scenarios.len(), "scenario");
    let failed = row.cells.iter().any(|cell| cell.summary.kind == Kind::Failed);
    let open = if failed { " open=\"open\"" } else { "" };
    format!(
        "<details{open}><summary>{} · {count}<span class=\"hidden\"> of {}</span></summary><dl><dt>Asked by</dt><dd>{}</dd>\
         <dt>Today</dt><dd>{}</dd><dt>Scenarios</dt><dd>{scenarios}</dd></dl>{notes}</details>",
        escape(
            &feature.since.map_or_else(|| "no mechanism upstream".to_owned(), |since| format!("since Linux {since}"))
        ),
        escape(&feature.code),
        escape(&asked),
        escape(&feature.today()),
    )
}

fn versions(rows: &[VersionRow], kernels: &[Kernel]) -> String {
    let body = |of: &VersionRow| {
        let number = of.feature.code.trim_start_matches("version-");
        let first = format!("<code>{}</code>{}", escape(number), escape(&of.feature.words));
        let cells = of.values.iter().zip(kernels);
        let class = |judgement| match judgement {
            Judgement::AsExpected => "as-expected",
            Judgement::Different => "different",
            Judgement::Unclear => "unclear",
            Judgement::NoExpectation => "no-expectation",
            Judgement::NotRun => "not-run",
        };
        let cells = cells.map(|(one, kernel)| (kernel.heading(), badge(class(one.judgement), &value(one))));
        let observations =
            of.values.iter().zip(kernels).filter(|(value, _)| !value.observed.is_empty()).map(|(value, kernel)| {
                let (kernel, word) = (escape(&kernel.short), value.judgement.label());
                format!("<li>{kernel}: {word}: {}</li>", escape(&value.observed))
            });
        let observations: String = observations.collect();
        let observations = if observations.is_empty() { observations } else { format!("<ul>{observations}</ul>") };
        let scenarios = names(&of.scenarios);
        let scenarios = if scenarios.is_empty() { "no scenario".to_owned() } else { scenarios };
        let today = escape(&of.feature.today());
        row(&anchor(&of.feature.code), &first, cells)
            + &format!(
                "<tr role=\"row\" class=\"more\"><td role=\"cell\" colspan=\"{}\"><details><summary>{today}</summary>\
                 <p>{scenarios}</p>{observations}</details></td></tr>\n",
                kernels.len() + 1
            )
    };
    table("features", VERSIONS, &with_kernels("check", kernels), rows.iter().map(body))
}

/// The place of a feature, or of a row of versions.
fn anchor(code: &str) -> String {
    format!("feature-{code}")
}

fn all_findings(report: &Report) -> String {
    let (of_these, others) = findings(report);
    let mut out: String = of_these.into_iter().map(finding).collect();
    if !others.is_empty() {
        out.push_str(&format!("<p>{OTHER_FINDINGS}{}</p>\n", code_list(&others)));
    }
    out
}

fn finding(finding: &Finding) -> String {
    let Finding { name, features, kernels, says, does, right, source, because, reproduce, prints } = finding;
    let link = |code: &String| format!("<a href=\"#{}\">{}</a>", escape(&anchor(code)), escape(code));
    let about = features.iter().map(link).collect::<Vec<_>>().join(", ");
    let facts: String = [
        ("Kernels", kernels),
        ("Says", says),
        ("Does", does),
        ("Right is", right),
        ("Source", source),
        ("Because", because),
    ]
    .iter()
    .map(|(head, text)| format!("<dt>{head}</dt><dd>{}</dd>\n", escape(text)))
    .collect();
    format!(
        "<article>\n<h3 id=\"finding-{0}\">{0}</h3>\n<dl>\n<dt>About</dt><dd>{about}</dd>\n{facts}</dl>\n<p>Reproduce:</p>\n\
         <pre tabindex=\"0\"><code>{1}</code></pre>\n<p>It prints: {2}</p>\n</article>\n",
        escape(name),
        escape(reproduce),
        escape(prints)
    )
}

fn names(scenarios: &[ScenarioId]) -> String {
    code_list(&scenarios.iter().map(ScenarioId::as_str).collect::<Vec<_>>())
}

fn code_list(names: &[&str]) -> String {
    names.iter().map(|name| format!("<code>{}</code>", escape(name))).collect::<Vec<_>>().join(", ")
}

/// Text for an element or an attribute in double quotes.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::table::tests::report;

    /// The page is also XML, so that a reader of XML finds an element that is not closed.
    #[test]
    fn the_page_is_well_formed_and_every_link_has_its_target() {
        let page = render(&report());
        let xml = page.strip_prefix("<!doctype html>\n").unwrap();
        let document = roxmltree::Document::parse(xml).unwrap();
        let ids: Vec<_> = document.descendants().filter_map(|node| node.attribute("id")).collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "an id occurs twice");
        for link in document.descendants().filter_map(|node| node.attribute("href")) {
            assert!(link.strip_prefix('#').is_some_and(|id| ids.contains(&id)), "{link}");
        }
        let heads = document.descendants().filter(|node| node.has_tag_name("th"));
        assert!(heads.clone().count() > 100 && heads.into_iter().all(|node| node.attribute("scope").is_some()));
        assert!(!document.descendants().any(|node| node.has_tag_name("script") || node.attribute("src").is_some()));
        assert!(!STYLE.contains("url(") && !STYLE.contains("@import"), "the page must need nothing else");
    }

    /// WCAG 2.2, 1.4.3, asks for a contrast of 4.5 to 1; this asks for more.
    #[test]
    fn every_text_can_be_read_on_its_background() {
        let (light, dark) = STYLE.split_once("@media (prefers-color-scheme: dark)").unwrap();
        for (scheme, css) in [("light", light), ("dark", dark)] {
            let colour = |name: &str| {
                let (_, rest) = css.split_once(&format!("--{name}: #")).unwrap();
                u32::from_str_radix(&rest[..6], 16).unwrap()
            };
            let names = ["good", "part", "leak", "gone", "skip", "bad", "none"];
            let pairs = names.map(|name| (name.to_owned(), format!("{name}-back"))).into_iter();
            let rest = [("text", "page"), ("soft", "page"), ("soft", "head"), ("leak", "page"), ("text", "head")];
            for (text, back) in pairs.chain(rest.map(|(text, back)| (text.to_owned(), back.to_owned()))) {
                let ratio = contrast(colour(&text), colour(&back));
                assert!(ratio > 5.5, "{scheme}: {text} on {back}: {ratio:.1}");
            }
        }
    }

    fn contrast(a: u32, b: u32) -> f64 {
        let luminance = |colour: u32| {
            let channel = |shift: u32| {
                let c = f64::from(colour >> shift & 0xff) / 255.0;
                if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
            };
            0.2126 * channel(16) + 0.7152 * channel(8) + 0.0722 * channel(0)
        };
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }
}

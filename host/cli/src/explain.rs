//! `vmlab explain`: all about one scenario.

use clap::Args;
use clap::builder::StringValueParser;
use serde::Serialize;
use vmlab_protocol::catalogue::{Control, Expectation, Namespace, ScenarioId, ScenarioSpec};

use super::suggest::{scenarios, suggest};
use super::{Context, Failure, output};
use vmlab_events::exit;
use vmlab_features::list::{self, Feature, Group};
use vmlab_features::render::paragraph;
use vmlab_features::results::{Kernel, Outcome, Results};
use vmlab_image::guest_init;
use vmlab_report::style::{Facts, Style};
use vmlab_store::record;

/// Explain a scenario: what it shows, why, how, and its last result
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ExplainArgs {
    /// Name of the scenario, or a part that only one name has
    #[arg(value_name = "NAME", value_parser = suggest(StringValueParser::new(), scenarios), hide_possible_values = true)]
    name: String,

    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  vmlab explain uts.hostname
  vmlab explain hostname               a part is enough
  vmlab explain uts.hostname --json | jq -r '.scenario.steps[]'

If several names have the part, they are listed, and the exit code is 2. If none has it, the exit code is 4.";

/// Names that are offered for a misspelt one.
const MAX_OFFERS: usize = 3;
/// How similar they must be, from 0 to 1.
const SIMILAR: f64 = 0.75;

/// What is known of a scenario.
#[derive(Debug, Serialize)]
struct Explanation<'a> {
    scenario: &'a ScenarioSpec,
    features: Vec<&'a Feature>,
    /// The latest record with a result of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<LastResult>,
}

/// The results in one run.
#[derive(Debug, Serialize)]
struct LastResult {
    run: String,
    kernels: Vec<OnKernel>,
}

#[derive(Debug, Serialize)]
struct OnKernel {
    #[serde(flatten)]
    kernel: Kernel,
    #[serde(flatten)]
    outcome: Outcome,
}

pub(super) fn run(args: &ExplainArgs, context: &Context) -> Result<u8, Failure> {
    let catalogue = guest_init::catalogue().map_err(|error| Failure::lab(vmlab_events::error::chain(&error)))?;
    let groups = list::embedded().map_err(Failure::lab)?;
    let scenario = find(catalogue, &args.name)?;
    let explanation =
        Explanation { scenario, features: features(scenario, &groups), last: last_result(&scenario.id, context) };
    let columns = Style::decide_again(&Facts::gather()).columns.unwrap_or(COLUMNS);
    if args.json {
        output::print_json(&explanation)?;
    } else {
        output::print(&explanation.text(columns))?;
    }
    Ok(exit::OK)
}

/// The scenario with this name, or the only one whose name has this part.
fn find<'a>(catalogue: &'a [ScenarioSpec], name: &str) -> Result<&'a ScenarioSpec, Failure> {
    let name = name.strip_prefix('=').unwrap_or(name);
    if let Some(spec) = catalogue.iter().find(|spec| spec.id.as_str() == name) {
        return Ok(spec);
    }
    let with_part: Vec<_> = catalogue.iter().filter(|spec| spec.id.as_str().contains(name)).collect();
    match with_part.as_slice() {
        [spec] => Ok(spec),
        [] => Err(Failure::with_code(exit::NOTHING_RAN, unknown(catalogue, name))),
        several => {
            let lines: String = several.iter().map(|spec| format!("\n  {}", spec.id)).collect();
            Err(Failure::usage(format!("{} scenarios have `{name}` in their names:{lines}", several.len())))
        }
    }
}

fn unknown(catalogue: &[ScenarioSpec], name: &str) -> String {
    let similarity = |spec: &ScenarioSpec| {
        let id = spec.id.as_str();
        let last = id.split_once('.').map_or(id, |(_, last)| last);
        strsim::jaro_winkler(id, name).max(strsim::jaro_winkler(last, name))
    };
    let mut similar: Vec<_> =
        catalogue.iter().map(|spec| (similarity(spec), &spec.id)).filter(|(how, _)| *how >= SIMILAR).collect();
    similar.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let offers: Vec<_> = similar.iter().take(MAX_OFFERS).map(|(_, id)| format!("`{id}`")).collect();
    let meant = if offers.is_empty() { String::new() } else { format!("did you mean {}? ", offers.join(" or ")) };
    format!("no scenario's name contains `{name}`; {meant}`vmlab list` shows them all")
}

fn features<'a>(scenario: &ScenarioSpec, groups: &'a [Group]) -> Vec<&'a Feature> {
    scenario.items.iter().filter_map(|item| list::find(groups, item)).collect()
}

/// The results in the latest record that has any. Records that cannot be read are passed over: `vmlab report` tells why.
fn last_result(scenario: &ScenarioId, context: &Context) -> Option<LastResult> {
    let listed = record::list(&context.dirs).ok()?;
    let with_it = listed.iter().filter(|run| run.jobs.iter().any(|job| job == scenario.as_str()));
    with_it.filter_map(|run| record::open(&context.dirs, &run.id).ok()).find_map(|stored| {
        let mut results = Results::default();
        results.add(&stored.events);
        let kernels = results
            .kernels
            .iter()
            .enumerate()
            .map(|(at, kernel)| OnKernel { kernel: kernel.clone(), outcome: results.outcome(at, scenario).clone() });
        let kernels = kernels.collect();
        let run = results.runs.first().cloned().unwrap_or_default();
        results.has(scenario).then_some(LastResult { run, kernels })
    })
}

/// The width of the text where nothing says how wide the terminal is.
const COLUMNS: usize = 80;

impl Explanation<'_> {
    fn text(&self, columns: usize) -> String {
        let Self { scenario, features, last } = self;
        let mut out = format!("{}\n{}", scenario.id, paragraph("    ", &scenario.title, columns));
        let mut section = |head: &str, lines: Vec<(String, String)>| {
            if !lines.is_empty() {
                out.push_str(&format!("\n{head}\n"));
                out.extend(lines.iter().map(|(head, text)| paragraph(&format!("    {head}"), text, columns)));
            }
        };
        let line = |text: &str| (String::new(), text.to_owned());
        let named = |name: &str, text: String| (format!("{name}: "), text);
        section("Feature", features.iter().flat_map(|feature| asked(feature)).collect());
        let steps = scenario.steps.iter().enumerate();
        section("Steps", steps.map(|(at, step)| (format!("{}. ", at + 1), step.clone())).collect());
        section("Legs", vec![named("subject", subject(scenario)), named("control", control(scenario))]);
        section("Expected", vec![line(&expected(scenario))]);
        let mut needed = vec![line(&needs(scenario))];
        if !scenario.modules.is_empty() {
            needed.push(named("modules, if the kernel has them as modules", scenario.modules.join(" ")));
        }
        section("Needs", needed);
        section("Documented in", vec![line(&scenario.source)]);
        let last = last.as_ref().map_or_else(|| vec![line("no record has one")], LastResult::lines);
        section("Last result", last);
        section("Run it", vec![line(&format!("vmlab run ={} -v", scenario.id))]);
        out
    }
}

/// The words of an item, who asked for it, and what Linux has today: heads and texts.
fn asked(feature: &Feature) -> Vec<(String, String)> {
    let mut lines = vec![(String::new(), format!("{}: {}", feature.code, feature.words))];
    if !feature.asked.is_empty() {
        lines.push(("    by ".to_owned(), feature.asked_by()));
    }
    lines.push(("    today: ".to_owned(), feature.today()));
    lines
}

impl LastResult {
    fn lines(&self) -> Vec<(String, String)> {
        let rows = self.kernels.iter().map(|OnKernel { kernel, outcome }| {
            let verdict = if outcome.is_result() { outcome.verdict } else { "not run" };
            [kernel.target.clone(), kernel.release.clone(), verdict.to_owned()]
        });
        let heads = output::columns(&rows.collect::<Vec<_>>());
        let mut lines = vec![(String::new(), format!("run {} (`vmlab report {}`)", self.run, self.run))];
        for (head, on) in heads.lines().zip(&self.kernels) {
            lines.push((head.to_owned(), String::new()));
            if !on.outcome.observed.is_empty() {
                lines.push(("    ".to_owned(), on.outcome.observed.clone()));
            }
        }
        lines
    }
}

/// What the kernel must have, in one line.
pub(super) fn needs(spec: &ScenarioSpec) -> String {
    let needs = &spec.requires;
    let backports: Vec<_> = needs.backports.iter().map(ToString::to_string).collect();
    let backports = if backports.is_empty() { String::new() } else { format!(" (also {})", backports.join(", ")) };
    format!("Linux {}{backports} {}", needs.since, needs.config.join(" ")).trim_end().to_owned()
}

/// Where the subject runs.
pub(super) fn subject(spec: &ScenarioSpec) -> String {
    let mechanism = spec.mechanism.as_ref().map(|mechanism| format!("with {mechanism}"));
    let inside = (!spec.namespaces.is_empty()).then(|| inside(&spec.namespaces));
    let parts: Vec<_> = inside.into_iter().chain(mechanism).collect();
    if parts.is_empty() { "in a cgroup with the limit".to_owned() } else { parts.join(", ") }
}

/// The namespaces, limits and mechanism that the control lacks, or the reason why no control is possible.
pub(super) fn control(spec: &ScenarioSpec) -> String {
    if let Control::Impossible { why } = &spec.control {
        return format!("none: {why}");
    }
    let missing = |namespace: &&Namespace| !spec.control_namespaces.contains(namespace);
    let mut lacks: Vec<_> = spec.namespaces.iter().filter(missing).map(|namespace| name(*namespace)).collect();
    let own: Vec<_> = spec.control_namespaces.iter().map(|namespace| name(*namespace)).collect();
    let lacking = match (&spec.mechanism, lacks.len()) {
        (Some(mechanism), 0) => format!("the same without {mechanism}"),
        (None, 0) => "the same without the limit".to_owned(),
        (mechanism, _) => {
            lacks.sort_unstable();
            let and = mechanism.as_ref().map(|mechanism| format!(", without {mechanism}")).unwrap_or_default();
            format!(
                "the same without the {} namespace{}{and}",
                lacks.join(" and "),
                if lacks.len() == 1 { "" } else { "s" }
            )
        }
    };
    if own.is_empty() { lacking } else { format!("{lacking}, in the {} namespace only", own.join(" and ")) }
}

fn inside(namespaces: &[Namespace]) -> String {
    let names: Vec<_> = namespaces.iter().map(|namespace| name(*namespace)).collect();
    match names.as_slice() {
        [name @ "IPC"] => format!("in an {name} namespace"),
        [name] => format!("in a {name} namespace"),
        names => format!("in new namespaces: {}", names.join(", ")),
    }
}

/// The name of a kind of namespace, as the manual pages write it.
const fn name(namespace: Namespace) -> &'static str {
    match namespace {
        Namespace::User => "user",
        Namespace::Cgroup => "cgroup",
        Namespace::Ipc => "IPC",
        Namespace::Uts => "UTS",
        Namespace::Mount => "mount",
        Namespace::Net => "network",
        Namespace::Time => "time",
        Namespace::Pid => "PID",
    }
}

/// The verdict that Linux is documented to get.
fn expected(spec: &ScenarioSpec) -> String {
    match (&spec.isolates_since, spec.expects) {
        (Some(since), _) => {
            let backports: Vec<_> = since.backports.iter().map(ToString::to_string).collect();
            let backports = if backports.is_empty() { String::new() } else { format!(" and {}", backports.join(", ")) };
            format!("PASS since Linux {}{backports}; LEAK before", since.mainline)
        }
        (None, Expectation::Isolation) => "PASS: the subject is isolated, and the control leaks".to_owned(),
        (None, Expectation::Leak) => "LEAK: Linux does not isolate this, by design".to_owned(),
        (None, Expectation::Figures) => "PASS: figures, which repeat".to_owned(),
    }
}

#[cfg(test)]
mod tests;

//! `vmlab explain`: all about one scenario, feature or finding.

use clap::Args;
use clap::builder::StringValueParser;
use named::OfFeature;
use serde::Serialize;
use vmlab_protocol::catalogue::{Control, Expectation, Namespace, ScenarioId, ScenarioSpec};

use super::suggest::{scenarios, suggest};
use super::{Context, Failure, output};
use vmlab_events::exit;
use vmlab_features::findings::{self, Finding};
use vmlab_features::list::{self, Feature, Group};
use vmlab_features::render::paragraph;
use vmlab_features::results::{Kernel, Outcome, Results};
use vmlab_image::guest_init;
use vmlab_report::style::{Facts, Style};
use vmlab_store::record;

/// Explain a scenario (what it shows, why, how, and its last result), a feature or a finding
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ExplainArgs {
    /// Name of a scenario, or a part that only one has; code of a feature; or name of a finding
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
  vmlab explain measure.create         a measuring scenario
  vmlab explain 3a                     a feature of `vmlab report --features`
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

/// What a name stands for.
enum Named<'a> {
    Scenario(&'a ScenarioSpec),
    Feature(&'a Feature),
    Finding(&'a Finding),
}

pub(super) fn run(args: &ExplainArgs, context: &Context) -> Result<u8, Failure> {
    let specs = specs()?;
    let groups = list::embedded().map_err(Failure::lab)?;
    let findings = findings::embedded().map_err(Failure::lab)?;
    match find(&specs, &groups, &findings, &args.name)? {
        Named::Scenario(scenario) => {
            let last = last_result(&scenario.id, context);
            let explanation = Explanation { scenario, features: features(scenario, &groups), last };
            show(args.json, &explanation, |columns| explanation.text(columns))?;
        }
        Named::Feature(feature) => {
            let of_feature = OfFeature::new(feature, &specs, &findings);
            show(args.json, &of_feature, |columns| of_feature.text(columns))?;
        }
        Named::Finding(finding) => show(args.json, finding, |columns| named::finding_text(finding, columns))?,
    }
    Ok(exit::OK)
}

fn show(json: bool, value: &impl Serialize, text: impl Fn(usize) -> String) -> Result<(), Failure> {
    if json {
        return output::print_json(value);
    }
    output::print(&text(Style::decide_again(&Facts::gather()).columns.unwrap_or(COLUMNS)))
}

/// All scenarios, with the measuring ones.
fn specs() -> Result<Vec<&'static ScenarioSpec>, Failure> {
    let failed = |error| Failure::lab(vmlab_events::error::chain(&error));
    let (catalogue, measures) = (guest_init::catalogue().map_err(failed)?, guest_init::measures().map_err(failed)?);
    Ok(catalogue.iter().chain(measures).collect())
}

/// What has this name, or the only scenario whose name has this part.
fn find<'a>(
    specs: &[&'a ScenarioSpec],
    groups: &'a [Group],
    findings: &'a [Finding],
    name: &str,
) -> Result<Named<'a>, Failure> {
    let name = name.strip_prefix('=').unwrap_or(name);
    let whole = specs.iter().find(|spec| spec.id.as_str() == name).map(|spec| Named::Scenario(spec));
    let feature = || list::find(groups, &name.to_lowercase()).map(Named::Feature);
    let finding = || findings.iter().find(|finding| finding.name == name).map(Named::Finding);
    if let Some(named) = whole.or_else(feature).or_else(finding) {
        return Ok(named);
    }
    let with_part: Vec<_> = specs.iter().filter(|spec| spec.id.as_str().contains(name)).collect();
    match with_part.as_slice() {
        [spec] => Ok(Named::Scenario(spec)),
        [] => Err(Failure::with_code(exit::NOTHING_RAN, unknown(specs, name))),
        several => {
            let lines: String = several.iter().map(|spec| format!("\n  {}", spec.id)).collect();
            Err(Failure::usage(format!("{} scenarios have `{name}` in their names:{lines}", several.len())))
        }
    }
}

fn unknown(specs: &[&ScenarioSpec], name: &str) -> String {
    let similarity = |spec: &ScenarioSpec| {
        let id = spec.id.as_str();
        let last = id.split_once('.').map_or(id, |(_, last)| last);
        strsim::jaro_winkler(id, name).max(strsim::jaro_winkler(last, name))
    };
    let mut similar: Vec<_> =
        specs.iter().map(|spec| (similarity(spec), &spec.id)).filter(|(how, _)| *how >= SIMILAR).collect();
    similar.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let offers: Vec<_> = similar.iter().take(MAX_OFFERS).map(|(_, id)| format!("`{id}`")).collect();
    let meant = if offers.is_empty() { String::new() } else { format!("did you mean {}? ", offers.join(" or ")) };
    format!(
        "no scenario's name contains `{name}`, and no feature or finding has it; {meant}`vmlab list`, `vmlab list --measure` \
         and `vmlab report --features` show all names"
    )
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

/// A heading, and heads and texts of the paragraphs below it.
struct Section(&'static str, Vec<(String, String)>);

/// A name, its meaning, and the sections that are not empty.
fn sections<const N: usize>(name: &str, meaning: &str, sections: [Section; N], columns: usize) -> String {
    let mut out = format!("{name}\n{}", paragraph("    ", meaning, columns));
    for Section(heading, lines) in sections {
        if !lines.is_empty() {
            out.push_str(&format!("\n{heading}\n"));
            out.extend(lines.iter().map(|(head, text)| paragraph(&format!("    {head}"), text, columns)));
        }
    }
    out
}

impl Explanation<'_> {
    fn text(&self, columns: usize) -> String {
        let Self { scenario, features, last } = self;
        let line = |text: &str| (String::new(), text.to_owned());
        let named = |name: &str, text: String| (format!("{name}: "), text);
        let steps = scenario.steps.iter().enumerate();
        let mut needed = vec![line(&needs(scenario))];
        needed.extend(machine(scenario).into_iter().map(|what| named("machine", what)));
        if !scenario.modules.is_empty() {
            needed.push(named("modules, if the kernel has them as modules", scenario.modules.join(" ")));
        }
        let option = if scenario.machine.measuring { "--measure " } else { "" };
        sections(
            scenario.id.as_str(),
            &scenario.title,
            [
                Section("Feature", features.iter().flat_map(|feature| asked(feature)).collect()),
                Section("Steps", steps.map(|(at, step)| (format!("{}. ", at + 1), step.clone())).collect()),
                Section("Legs", vec![named("subject", subject(scenario)), named("control", control(scenario))]),
                Section("Expected", vec![line(&expected(scenario))]),
                Section("Needs", needed),
                Section("Documented in", vec![line(&scenario.source)]),
                Section(
                    "Last result",
                    last.as_ref().map_or_else(|| vec![line("no record has one")], LastResult::lines),
                ),
                Section("Run it", vec![line(&format!("vmlab run {option}={} -v", scenario.id))]),
            ],
            columns,
        )
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

/// What the machine must have that not every guest has.
pub(super) fn machine(spec: &ScenarioSpec) -> Vec<String> {
    let cpus = (spec.machine.cpus > 1).then(|| format!("{} CPUs", spec.machine.cpus));
    let peer = spec.machine.peer.then(|| "two guests, linked to each other".to_owned());
    let counting = spec.machine.measuring.then(|| "one on which costs can be measured".to_owned());
    [cpus, peer, counting].into_iter().flatten().collect()
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
    // A control that is more than the subject without something is a step of its own.
    if let Some(at) =
        spec.steps.iter().position(|step| step.starts_with("Control: ") || step.starts_with("The control "))
    {
        return format!("step {}", at + 1);
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
        (None, Expectation::Isolation) if spec.namespaces.is_empty() => {
            "PASS: the subject shows the effect, and the control does not".to_owned()
        }
        (None, Expectation::Isolation) => "PASS: the subject is isolated, and the control leaks".to_owned(),
        (None, Expectation::Leak) => "LEAK: Linux does not isolate this, by design".to_owned(),
        (None, Expectation::Figures) => "PASS: figures, which repeat".to_owned(),
    }
}

mod named;
#[cfg(test)]
mod tests;

//! `vmlab list`: the scenarios, by area.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal as _};

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use vmlab_protocol::catalogue::ScenarioSpec;

use super::explain::{control, machine, needs, subject};
use super::{Failure, output};
use vmlab_events::exit;
use vmlab_features::{areas, list};
use vmlab_image::guest_init;
use vmlab_lab::select::{self, Filter};
use vmlab_protocol::catalogue::Expectation;

/// List the scenarios, by area
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ListArgs {
    /// Scenarios to list: a part of their names, or =NAME for exactly that one [default: all]
    #[arg(value_name = "FILTER")]
    filters: Vec<Filter>,

    /// List the measuring scenarios instead, which `vmlab run --measure` runs
    #[arg(long)]
    measure: bool,

    /// Only scenarios of features with this word, or one that begins with it: in what was asked for and by whom, in what Linux has
    /// today, or in the title; several words must all be there
    #[arg(long, value_name = "WORD", value_parser = NonEmptyStringValueParser::new())]
    feature: Vec<String>,

    /// Print a JSON array
    #[arg(long, conflicts_with = "verbose")]
    json: bool,

    /// Also print what each scenario does, what it needs of the kernel, and where its behaviour is documented
    #[arg(short, long)]
    verbose: bool,
}

const EXAMPLES: &str = "\
Examples:
  vmlab list
  vmlab list time -v
  vmlab list --feature checkpoint     what shows checkpoint and restart?
  vmlab list --measure                the measuring scenarios
  vmlab list | wc -l                  how many are there?
  vmlab list --json | jq -r '.[].id'

On a terminal, each area has a heading. In a pipe or a file there are no headings: without -v, one
line for each scenario, to count and to search.
`vmlab explain NAME` tells all about one scenario.";

pub(super) fn run(args: &ListArgs) -> Result<u8, Failure> {
    let catalogue = if args.measure { guest_init::measures() } else { guest_init::catalogue() };
    let catalogue = catalogue.map_err(|error| Failure::lab(vmlab_events::error::chain(&error)))?;
    let mut chosen =
        select::select(catalogue, &args.filters).map_err(|error| Failure::with_code(exit::NOTHING_RAN, error))?;
    if !args.feature.is_empty() {
        let groups = list::embedded().map_err(Failure::lab)?;
        chosen.retain(|spec| mentions_all(spec, &groups, &args.feature));
        if chosen.is_empty() {
            return Err(Failure::with_code(exit::NOTHING_RAN, nothing(args, &groups)?));
        }
    }
    if args.json {
        output::print_json(&chosen)?;
        return Ok(exit::OK);
    }
    let headings = io::stdout().is_terminal();
    output::print(&listed(&chosen, args.verbose, headings)?)?;
    Ok(exit::OK)
}

/// Why no scenario is listed, and what to do.
fn nothing(args: &ListArgs, groups: &[list::Group]) -> Result<String, Failure> {
    let failed = |error| Failure::lab(vmlab_events::error::chain(&error));
    let words = args.feature.join("` and `");
    let has = |specs: &[ScenarioSpec]| specs.iter().any(|spec| mentions_all(spec, groups, &args.feature));
    let feature = groups
        .iter()
        .flat_map(|group| &group.features)
        .find(|feature| args.feature.iter().all(|word| feature.mentions(word)));
    let (scenarios, measures) =
        (has(guest_init::catalogue().map_err(failed)?), has(guest_init::measures().map_err(failed)?));
    Ok(match (scenarios, measures, feature) {
        (true, ..) if !args.filters.is_empty() || args.measure => {
            format!(
                "scenarios are about a feature with `{words}`, but none that was selected; `vmlab list --feature` alone shows them"
            )
        }
        (_, true, _) if !args.measure => {
            format!("only measuring scenarios are about a feature with `{words}`; `vmlab list --measure` shows them")
        }
        (.., Some(feature)) => {
            format!("no scenario is about the feature {}; `vmlab explain {0}` says why", feature.code)
        }
        _ => format!("no scenario is about a feature with `{words}`; `vmlab list` shows them all"),
    })
}

fn mentions_all(spec: &ScenarioSpec, groups: &[list::Group], words: &[String]) -> bool {
    words.iter().all(|word| mentions(spec, groups, word))
}

/// Whether the scenario or one of its features has the word.
fn mentions(spec: &ScenarioSpec, groups: &[list::Group], word: &str) -> bool {
    let texts = [Some(spec.id.as_str()), Some(&spec.title), spec.mechanism.as_deref()];
    texts.into_iter().flatten().any(|text| list::has_beginning(text, word))
        || spec.items.iter().filter_map(|item| list::find(groups, item)).any(|feature| feature.mentions(word))
}

/// The scenarios, with a heading for each area or without.
fn listed(chosen: &[ScenarioSpec], verbose: bool, headings: bool) -> Result<String, Failure> {
    let areas = areas::embedded().map_err(Failure::lab)?;
    let width = chosen.iter().map(|spec| spec.id.as_str().len()).max().unwrap_or(0).max(MIN_NAME);
    let mut out = String::new();
    for area in chosen.iter().map(|spec| spec.id.area()).collect::<BTreeSet<_>>() {
        let of_area: String = chosen
            .iter()
            .filter(|spec| spec.id.area() == area)
            .map(|spec| if verbose { describe(spec, width) } else { line(spec, width) })
            .collect();
        if !headings {
            out.push_str(&of_area);
            continue;
        }
        if !out.is_empty() {
            out.push('\n');
        }
        let about = areas.iter().find(|known| known.name == area).map(|known| format!(": {}", known.about));
        out.push_str(&format!("{area}{}\n", about.unwrap_or_default()));
        out.extend(of_area.lines().map(|line| format!("  {line}\n")));
    }
    Ok(out)
}

/// The least width of the names' column.
const MIN_NAME: usize = 22;

fn line(spec: &ScenarioSpec, width: usize) -> String {
    let leak = match (&spec.isolates_since, spec.expects) {
        (Some(since), _) => format!(" (leaks before {})", since.mainline),
        (None, Expectation::Leak) => " (leaks by design)".to_owned(),
        (None, Expectation::Isolation | Expectation::Figures) => String::new(),
    };
    format!("{:<width$} {}{leak}\n", spec.id.as_str(), spec.title)
}

fn describe(spec: &ScenarioSpec, width: usize) -> String {
    let mut facts = vec![("needs", needs(spec))];
    facts.extend(machine(spec).into_iter().map(|what| ("machine", what)));
    if !spec.modules.is_empty() {
        facts.push(("modules", spec.modules.join(" ")));
    }
    facts.push(("subject", subject(spec)));
    facts.push(("control", control(spec)));
    facts.push(("source", spec.source.clone()));
    let steps = spec.steps.iter().enumerate().map(|(at, step)| (if at == 0 { "steps" } else { "" }, step.clone()));
    facts.extend(steps);
    let facts: String = facts.iter().map(|(name, text)| format!("    {name:<9} {}\n", text.trim_end())).collect();
    line(spec, width) + &facts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_without_headings_has_one_line_for_each_scenario() {
        let catalogue = guest_init::catalogue().unwrap();
        let text = listed(catalogue, false, false).unwrap();
        assert_eq!(text.lines().count(), catalogue.len());
        for (line, spec) in text.lines().zip(catalogue) {
            assert_eq!(line.split(' ').next(), Some(spec.id.as_str()), "the order is that of the names");
        }
    }

    #[test]
    fn each_area_has_a_heading_with_a_line_on_it() {
        let catalogue = guest_init::catalogue().unwrap();
        let text = listed(catalogue, false, true).unwrap();
        for spec in catalogue {
            let heading = format!("{}: ", spec.id.area());
            let known = text.lines().any(|line| line.starts_with(&heading));
            assert!(known, "host/features/src/data/areas.toml has no line on `{}`", spec.id.area());
        }
        let first = format!("\n  {}", catalogue[0].id);
        assert!(text.contains(&first), "{text}");
    }

    #[test]
    fn no_codes_of_items_are_in_the_list() {
        let catalogue = guest_init::catalogue().unwrap();
        let text = listed(catalogue, true, true).unwrap();
        assert!(!text.contains("3a") && !text.contains("biederman"), "{text}");
    }

    #[test]
    fn a_word_is_looked_for_in_what_was_asked_for_and_in_what_linux_has() {
        let (catalogue, groups) = (guest_init::catalogue().unwrap(), list::embedded().unwrap());
        let with = |word: &str| -> Vec<&str> {
            catalogue.iter().filter(|spec| mentions(spec, &groups, word)).map(|spec| spec.id.as_str()).collect()
        };
        assert!(with("utsname").contains(&"uts.hostname"), "words of the item");
        assert!(with("UTS namespaces").contains(&"uts.domainname"), "today's mechanism");
        assert!(with("3A").contains(&"uts.hostname"), "the code");
        assert!(with("sethostname").contains(&"uts.hostname"), "the title");
        assert!(with("utsname").len() < catalogue.len());
        assert!(with("Vilain").contains(&"uts.hostname"), "who asked");
        assert!(with("no such word").is_empty());
        assert!(!with("3a").contains(&"time.vfork"), "no number in the middle of a commit's");
    }
}

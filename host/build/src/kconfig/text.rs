//! Reasons in words.

use std::fmt;

use super::declare::Kind;
use super::expr::Tristate;
use super::reason::{Condition, Reason, Relation, Unmet, Why};

/// How many names a list has before it says how many more there are.
const NAMES_MAX: usize = 3;
/// How many unmet conditions are named.
const UNMET_MAX: usize = 4;

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Reason::NoSuchSymbol { nearest } => {
                f.write_str("this kernel has no such symbol")?;
                match nearest.as_slice() {
                    [] => Ok(()),
                    [only] => write!(f, "; the nearest is {only}"),
                    several => write!(f, "; the nearest are {}", list(several, "and")),
                }
            }
            Reason::NotOfType { kind, asked } => write!(f, "{}, not {asked}", takes(*kind)),
            Reason::ModulesOff => f.write_str("this kernel has no modules (CONFIG_MODULES is n): ask for y"),
            Reason::Unmet(unmet) => top(f, unmet),
            Reason::SetBy(names) => write!(f, "it has no prompt; it is set by {}", list(names, "or")),
            Reason::NeverSet => f.write_str("it has no prompt, and nothing sets it"),
            Reason::DefaultSets => f.write_str("it has no prompt: its default gives it another value"),
            Reason::SelectedBy(selectors) => selected(f, selectors),
            Reason::OtherOfChoice(other) => write!(f, "CONFIG_{other} of the same choice is y"),
            Reason::OneOfChoice(others) => {
                write!(f, "one symbol of its choice must be y: ask for {} instead", list(&prefixed(others), "or"))
            }
            Reason::OutOfRange { low, high } => write!(f, "its value must be from {low} to {high}"),
            // These two are said of a symbol that another one depends on.
            Reason::AsAsked(by) | Reason::AskedInVain(by) => write!(f, "{by} asks for that"),
            Reason::Blocked => f.write_str("what it depends on is not met"),
            Reason::Free => f.write_str("another line or a default sets it otherwise: all that it depends on is met"),
        }
    }
}

fn takes(kind: Kind) -> &'static str {
    match kind {
        Kind::Bool => "it takes y or n",
        Kind::Tristate => "it takes y, m or n",
        Kind::Int => "it takes a decimal number",
        Kind::Hex => "it takes a hexadecimal number such as 0x10",
        Kind::Text => "it takes a text in double quotes",
    }
}

fn selected(f: &mut fmt::Formatter<'_>, selectors: &[(String, Tristate)]) -> fmt::Result {
    match selectors {
        [(name, value)] => write!(f, "CONFIG_{name}, which is {value}, selects it"),
        several => {
            let names: Vec<String> = several.iter().map(|(name, _)| format!("CONFIG_{name}")).collect();
            write!(f, "{}, which are set, select it", list(&names, "and"))
        }
    }
}

fn prefixed(names: &[String]) -> Vec<String> {
    names.iter().map(|name| format!("CONFIG_{name}")).collect()
}

/// `A`, `A or B`, `A, B or C`, `A, B, C or 5 others`.
fn list(names: &[String], last: &str) -> String {
    let mut shown: Vec<String> = names.iter().take(NAMES_MAX).cloned().collect();
    match names.len() - shown.len() {
        0 => {}
        1 => shown.push("one other".to_owned()),
        more => shown.push(format!("{more} others")),
    }
    match shown.split_last() {
        None => String::new(),
        Some((only, [])) => only.clone(),
        Some((end, head)) => format!("{} {last} {end}", head.join(", ")),
    }
}

fn top(f: &mut fmt::Formatter<'_>, unmet: &[Unmet]) -> fmt::Result {
    for (index, Unmet { relation, condition }) in unmet.iter().take(UNMET_MAX).enumerate() {
        let also = if index == 0 { "" } else { "also " };
        f.write_str(if index == 0 { "" } else { "; " })?;
        if let (Relation::Depends, Condition::Inverted { name, value, selected_by }) = (relation, condition) {
            write!(f, "it {also}needs CONFIG_{name} to be n, and that is {value}{}", by(selected_by))?;
            continue;
        }
        match relation {
            Relation::Depends => write!(f, "it {also}depends on ")?,
            Relation::Prompt => write!(f, "it can {also}be set only with ")?,
            Relation::Menu => write!(f, "its menu is {also}visible only with ")?,
            Relation::Default => write!(f, "it has no prompt, and its default {also}needs ")?,
        }
        write_condition(f, condition, 0)?;
    }
    match unmet.len().saturating_sub(UNMET_MAX) {
        0 => Ok(()),
        1 => f.write_str("; one more condition is not met"),
        more => write!(f, "; {more} more conditions are not met"),
    }
}

/// Why a symbol that another one depends on is not set: continues "which is n".
/// `asks` counts the symbols of the chain before it that have to be asked for as well.
fn nested(f: &mut fmt::Formatter<'_>, unmet: &[Unmet], asks: usize) -> fmt::Result {
    let [Unmet { relation, condition }] = unmet else {
        let names: Vec<String> = unmet.iter().map(|unmet| bare(&unmet.condition)).collect();
        return write!(f, " and has unmet dependencies of its own: {}", list(&names, "and"));
    };
    if let (Relation::Depends, Condition::Inverted { name, value, selected_by }) = (relation, condition) {
        return write!(f, " and itself needs CONFIG_{name} to be n, and that is {value}{}", by(selected_by));
    }
    f.write_str(match relation {
        Relation::Depends => " and itself depends on ",
        Relation::Prompt => " and can itself be set only with ",
        Relation::Menu => " and is in a menu that is visible only with ",
        Relation::Default => " and has no prompt, but a default that needs ",
    })?;
    write_condition(f, condition, asks)
}

/// The condition alone, without its value.
fn bare(condition: &Condition) -> String {
    match condition {
        Condition::Symbol { name, .. } | Condition::Undeclared { name } => format!("CONFIG_{name}"),
        Condition::Inverted { name, .. } => format!("!CONFIG_{name}"),
        Condition::AnyOf { text, .. }
        | Condition::NoneDeclared { text, .. }
        | Condition::Compare { text, .. }
        | Condition::Macro { text, .. }
        | Condition::Other { text } => text.clone(),
        Condition::Modules => "CONFIG_MODULES".to_owned(),
    }
}

fn by(selectors: &[String]) -> String {
    match selectors {
        [] => String::new(),
        [only] => format!(" (CONFIG_{only} selects it)"),
        several => format!(" ({} select it)", list(&prefixed(several), "and")),
    }
}

fn write_condition(f: &mut fmt::Formatter<'_>, condition: &Condition, asks: usize) -> fmt::Result {
    match condition {
        Condition::Symbol { name, value, to_ask, because } => {
            write!(f, "CONFIG_{name}, which is {value}")?;
            match because.as_deref() {
                Some(Reason::Unmet(unmet)) => nested(f, unmet, asks + usize::from(*to_ask)),
                Some(reason) => write_because(f, reason, *value, asks),
                None => Ok(()),
            }
        }
        Condition::Undeclared { name } => write!(f, "CONFIG_{name}, which does not exist for x86"),
        Condition::Inverted { name, value, selected_by } => {
            write!(f, "CONFIG_{name} = n, and that is {value}{}", by(selected_by))
        }
        Condition::AnyOf { text, count: 2, all_n: true } => write!(f, "{text}, and both are n"),
        Condition::AnyOf { text, all_n: true, .. } => write!(f, "{text}, none of which is set"),
        Condition::AnyOf { text, .. } => write!(f, "{text}, none of which is y"),
        Condition::NoneDeclared { text, count: 2 } => write!(f, "{text}, and neither can be had on x86"),
        Condition::NoneDeclared { text, .. } => write!(f, "{text}, none of which can be had on x86"),
        Condition::Compare { text, values } => {
            f.write_str(text)?;
            values.iter().try_for_each(|(name, value)| write!(f, ", and CONFIG_{name} is {value}"))
        }
        Condition::Macro { text, decided_by } => write!(f, "{text}, which is decided by {decided_by}"),
        Condition::Modules => f.write_str("modules, and CONFIG_MODULES is n"),
        Condition::Other { text } => write!(f, "{text}, which does not hold"),
    }
}

fn write_because(f: &mut fmt::Formatter<'_>, reason: &Reason, value: Tristate, asks: usize) -> fmt::Result {
    match reason {
        Reason::Free if value == Tristate::M => f.write_str(" (ask for y)"),
        Reason::Free => match asks {
            0 => f.write_str(" (ask for it, too)"),
            1 => f.write_str(" (ask for both, too)"),
            more => write!(f, " (ask for all {}, too)", more + 1),
        },
        Reason::SetBy(names) => write!(f, " (it has no prompt; it is set by {})", list(names, "or")),
        Reason::Blocked => f.write_str(" (ask for it and for what it depends on)"),
        Reason::AsAsked(by) => write!(f, " as {by} asks"),
        Reason::AskedInVain(by) => write!(f, " (asked for by {by}, in vain)"),
        Reason::NeverSet => f.write_str(" (nothing sets it)"),
        Reason::OtherOfChoice(other) => write!(f, " (CONFIG_{other} of the same choice is y)"),
        _ => Ok(()),
    }
}

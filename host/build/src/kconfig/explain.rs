//! Decides which reason to give.

use super::declare::{Declaration, Kind, Setter};
use super::expr::{Tristate, number};
use super::reason::{Condition, Reason, Relation, Unmet};
use super::unmet::Parts;
use super::value::Values;

/// How many symbols a chain of unmet dependencies names.
const CHAIN_MAX: usize = 3;

pub(super) fn why(values: Values<'_>, name: &str, asked: &str) -> Reason {
    let kind = values.kind(name).unwrap_or(Kind::Bool);
    if !is_of_kind(kind, asked) {
        return Reason::NotOfType { kind, asked: asked.to_owned() };
    }
    let Some(want) = Tristate::parse(asked).filter(|_| matches!(kind, Kind::Bool | Kind::Tristate)) else {
        return other_value(values, name, asked);
    };
    let value = values.tristate(name);
    if want == Tristate::M && !values.modules() {
        return match shortfall(values, name, want, 0) {
            Reason::Free => Reason::ModulesOff,
            _ if value != Tristate::N => Reason::ModulesOff,
            reason => reason,
        };
    }
    if want > value { shortfall(values, name, want, 0) } else { excess(values, name, want) }
}

/// What scripts/kconfig takes for a value of the kind (`sym_string_valid` in symbol.c).
fn is_of_kind(kind: Kind, asked: &str) -> bool {
    match kind {
        Kind::Bool => matches!(asked, "y" | "n"),
        Kind::Tristate => matches!(asked, "y" | "m" | "n"),
        Kind::Int => asked.parse::<i128>().is_ok(),
        Kind::Hex => number(asked).is_some() || i128::from_str_radix(asked, 16).is_ok(),
        Kind::Text => asked.len() >= 2 && asked.starts_with('"') && asked.ends_with('"'),
    }
}

/// Why a number or a text is not as asked.
fn other_value(values: Values<'_>, name: &str, asked: &str) -> Reason {
    let declarations = declarations(values, name);
    let Some(unmet) = prompt_conditions(values, declarations, Tristate::M) else { return Reason::DefaultSets };
    if !unmet.is_empty() {
        return Reason::Unmet(with_reasons(values, unmet, Tristate::M, 0));
    }
    let ranges = declarations.iter().flat_map(|declaration| &declaration.ranges);
    for (low, high, condition) in ranges {
        if values.bounds(condition).high == Tristate::N {
            continue;
        }
        // The first range whose condition holds counts (`sym_get_range_prop` in symbol.c).
        let (Some(low), Some(high)) = (values.operand(low), values.operand(high)) else { break };
        let inside = match (number(&low), number(asked), number(&high)) {
            (Some(low), Some(asked), Some(high)) => (low..=high).contains(&asked),
            _ => true,
        };
        return if inside { Reason::Free } else { Reason::OutOfRange { low, high } };
    }
    Reason::Free
}

/// Why a symbol is more than `want`.
fn excess(values: Values<'_>, name: &str, want: Tristate) -> Reason {
    let mut selected = values.selected_by(name);
    selected.retain(|(_, value)| *value > want);
    if !selected.is_empty() {
        return Reason::SelectedBy(selected.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
    }
    let declarations = declarations(values, name);
    let Some(unmet) = prompt_conditions(values, declarations, Tristate::M) else { return Reason::DefaultSets };
    if !unmet.is_empty() {
        return Reason::Unmet(with_reasons(values, unmet, Tristate::M, 0));
    }
    match others_of_choice(values, name) {
        Some(others) if others.iter().all(|other| values.tristate(other) != Tristate::Y) => Reason::OneOfChoice(others),
        _ => Reason::Free,
    }
}

/// Why a symbol is less than `want`. `depth` counts the symbols of the chain that led here.
fn shortfall(values: Values<'_>, name: &str, want: Tristate, depth: usize) -> Reason {
    // Where modules are off and for bool, a dependency that is m is enough (`sym_calc_visibility` in symbol.c).
    let modular = values.kind(name) == Some(Kind::Tristate) && values.modules();
    let need = if modular { want } else { Tristate::M };
    let declarations = declarations(values, name);
    let Some(unmet) = prompt_conditions(values, declarations, need) else {
        return without_prompt(values, name, need, depth);
    };
    if !unmet.is_empty() {
        return Reason::Unmet(with_reasons(values, unmet, need, depth));
    }
    let others = others_of_choice(values, name).unwrap_or_default();
    match others.into_iter().find(|other| values.tristate(other) == Tristate::Y) {
        Some(other) => Reason::OtherOfChoice(other),
        None => Reason::Free,
    }
}

fn declarations<'a>(values: Values<'a>, name: &str) -> &'a [Declaration] {
    values.declared.symbols.get(name).map_or(&[], |symbol| &symbol.declarations)
}

/// What keeps a prompt from being shown, by the declaration that lacks least; `None` if there is no prompt.
fn prompt_conditions(values: Values<'_>, declarations: &[Declaration], need: Tristate) -> Option<Vec<Unmet>> {
    let prompts = declarations.iter().flat_map(|declaration| {
        declaration.prompts.iter().map(move |prompt| {
            let mut parts = depends(values, declaration, need);
            for visible in &declaration.visible {
                parts.add(values, Relation::Menu, visible, need);
            }
            parts.add(values, Relation::Prompt, prompt, need);
            parts
        })
    });
    prompts.min_by_key(Parts::counts).map(Parts::into_unmet)
}

fn depends(values: Values<'_>, declaration: &Declaration, need: Tristate) -> Parts {
    let mut parts = Parts::default();
    for condition in &declaration.depends {
        parts.add(values, Relation::Depends, condition, need);
    }
    parts
}

fn without_prompt(values: Values<'_>, name: &str, need: Tristate, depth: usize) -> Reason {
    let setters = values.setters(name);
    let gives = |setter: &Setter| values.tristate(&setter.symbol).min(values.bounds(&setter.condition).low) >= need;
    if setters.iter().any(gives) {
        // An `imply`: it has no effect where a dependency is not met.
        let unmet = declarations(values, name).iter().map(|declaration| depends(values, declaration, need));
        let unmet = unmet.min_by_key(Parts::counts).map(Parts::into_unmet).unwrap_or_default();
        if !unmet.is_empty() {
            return Reason::Unmet(with_reasons(values, unmet, need, depth));
        }
    }
    if !setters.is_empty() {
        return Reason::SetBy(ranked(values, setters, need));
    }
    let defaults = declarations(values, name).iter().flat_map(|declaration| {
        declaration.default_conditions().map(move |condition| {
            let mut parts = depends(values, declaration, need);
            parts.add(values, Relation::Default, &condition, need);
            parts
        })
    });
    match defaults.min_by_key(Parts::counts).map(Parts::into_unmet) {
        None => Reason::NeverSet,
        Some(unmet) if unmet.is_empty() => Reason::DefaultSets,
        Some(unmet) => Reason::Unmet(with_reasons(values, unmet, need, depth)),
    }
}

/// The setters, those first that can be asked for.
fn ranked(values: Values<'_>, setters: &[Setter], need: Tristate) -> Vec<String> {
    let mut texts: Vec<(usize, String)> = setters
        .iter()
        .map(|Setter { symbol, condition, .. }| {
            let blocked = prompt_conditions(values, declarations(values, symbol), need).map_or(usize::MAX, |c| c.len());
            // Where the symbol is set already, it is the condition that is missing.
            if values.tristate(symbol) >= need && values.bounds(condition).high < need {
                (blocked, format!("CONFIG_{symbol} if {}", condition.short()))
            } else {
                (blocked, format!("CONFIG_{symbol}"))
            }
        })
        .collect();
    texts.sort_unstable();
    texts.dedup();
    texts.into_iter().map(|(_, text)| text).collect()
}

/// Says for each unmet symbol why it is not set. Only a chain that does not branch is followed to its end.
fn with_reasons(values: Values<'_>, mut unmet: Vec<Unmet>, need: Tristate, depth: usize) -> Vec<Unmet> {
    let next = if unmet.len() == 1 { depth + 1 } else { CHAIN_MAX.max(depth + 1) };
    if depth >= CHAIN_MAX {
        return unmet;
    }
    let named: Vec<String> = unmet.iter().filter_map(|unmet| symbol_name(unmet).map(str::to_owned)).collect();
    for Unmet { condition, .. } in &mut unmet {
        if let Condition::Symbol { name, because, .. } = condition {
            let has_prompt = values.has_prompt(name);
            let mut reason = shortfall(values, name, need, next);
            if let Reason::Unmet(inner) = &reason {
                let is_named = |unmet: &Unmet| symbol_name(unmet).is_some_and(|name| named.iter().any(|n| n == name));
                if inner.iter().all(is_named) && has_prompt {
                    reason = Reason::Free;
                } else if next >= CHAIN_MAX && has_prompt {
                    reason = Reason::Blocked;
                }
            }
            *because = Some(Box::new(with_request(values, name, need, reason)));
        }
    }
    unmet
}

/// Something that can be asked for has another reason if it was asked for, or its opposite.
fn with_request(values: Values<'_>, name: &str, need: Tristate, reason: Reason) -> Reason {
    match (reason, values.request(name)) {
        (Reason::Free | Reason::Blocked, Some(asked)) => match Tristate::parse(&asked.value) {
            Some(value) if value >= need => Reason::AskedInVain(asked.by.clone()),
            _ => Reason::AsAsked(asked.by.clone()),
        },
        (reason, _) => reason,
    }
}

fn symbol_name(unmet: &Unmet) -> Option<&str> {
    match &unmet.condition {
        Condition::Symbol { name, .. } => Some(name),
        _ => None,
    }
}

fn others_of_choice(values: Values<'_>, name: &str) -> Option<Vec<String>> {
    let choice = declarations(values, name).iter().find_map(|declaration| declaration.choice)?;
    let members = values.declared.choices.get(choice)?;
    Some(members.iter().filter(|member| *member != name).cloned().collect())
}

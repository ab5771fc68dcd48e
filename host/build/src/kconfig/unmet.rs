//! Finds the parts of a condition that do not hold.

use super::expr::{Expr, Operand, Tristate};
use super::reason::{Condition, Relation, Unmet};
use super::value::Values;

/// The unmet parts of conditions that must all hold.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// These do not hold.
    sure: Vec<Unmet>,
    /// These depend on a macro.
    open: Vec<Unmet>,
}

impl Parts {
    /// Those that surely do not hold; those that may not hold only if there are no others.
    pub(super) fn into_unmet(self) -> Vec<Unmet> {
        if self.sure.is_empty() { self.open } else { self.sure }
    }

    pub(super) fn counts(&self) -> (usize, usize) {
        (self.sure.len(), self.open.len())
    }

    /// Adds the parts of `condition` that have less than `need`.
    pub(super) fn add(&mut self, values: Values<'_>, relation: Relation, condition: &Expr, need: Tristate) {
        for part in condition.parts() {
            let bounds = values.bounds(part);
            if bounds.high < need {
                self.add_unmet(values, relation, part, need);
            } else if bounds.low < need {
                let text = part.short();
                let decided_by = first_macro(part).map_or("a command", decider);
                push(&mut self.open, Unmet { relation, condition: Condition::Macro { text, decided_by } });
            }
        }
    }

    fn add_unmet(&mut self, values: Values<'_>, relation: Relation, part: &Expr, need: Tristate) {
        let condition = match part {
            Expr::Symbol(name) if !values.is_declared(name) => Condition::Undeclared { name: name.clone() },
            Expr::Symbol(name) => Condition::Symbol {
                name: name.clone(),
                value: values.tristate(name),
                to_ask: values.has_prompt(name) && values.request(name).is_none(),
                because: None,
            },
            Expr::Constant(Tristate::M) => Condition::Modules,
            Expr::Not(inner) => match inner.as_ref() {
                Expr::Symbol(name) => Condition::Inverted {
                    name: name.clone(),
                    value: values.tristate(name),
                    selected_by: values.selected_by(name).into_iter().map(|(name, _)| name.to_owned()).collect(),
                },
                _ => Condition::Other { text: part.short() },
            },
            Expr::Compare(left, _, right) => {
                let shown = [left, right].into_iter().filter_map(|operand| shown_value(values, operand));
                Condition::Compare { text: part.short(), values: shown.collect() }
            }
            Expr::Any(alternatives) => {
                let possible: Vec<&Expr> =
                    alternatives.iter().filter(|alternative| is_possible(values, alternative)).collect();
                match possible.as_slice() {
                    [] => Condition::NoneDeclared { text: part.short(), count: alternatives.len() },
                    [only] => return self.add(values, relation, only, need),
                    several => any_of(values, several),
                }
            }
            Expr::All(_) | Expr::Constant(_) | Expr::Macro(_) => Condition::Other { text: part.short() },
        };
        push(&mut self.sure, Unmet { relation, condition });
    }
}

/// Blocks around a declaration and the declaration itself often have the same condition.
fn push(list: &mut Vec<Unmet>, unmet: Unmet) {
    if !list.iter().any(|other| other.condition == unmet.condition) {
        list.push(unmet);
    }
}

fn shown_value(values: Values<'_>, operand: &Operand) -> Option<(String, String)> {
    let Operand::Symbol(name) = operand else { return None };
    let value = if values.is_declared(name) { values.text(name) } else { "not declared for x86".to_owned() };
    Some((name.clone(), if value.is_empty() { "empty".to_owned() } else { value }))
}

/// Whether an alternative needs only symbols that can be set on x86: many alternatives are for other architectures.
fn is_possible(values: Values<'_>, alternative: &Expr) -> bool {
    alternative.parts().iter().all(|part| match part {
        Expr::Symbol(name) => values.can_be_set(name),
        Expr::Constant(value) => *value != Tristate::N,
        Expr::Any(inner) => inner.iter().any(|alternative| is_possible(values, alternative)),
        _ => true,
    })
}

fn any_of(values: Values<'_>, alternatives: &[&Expr]) -> Condition {
    let text = Expr::Any(alternatives.iter().map(|&alternative| alternative.clone()).collect()).short();
    let symbols: Option<Vec<Tristate>> = alternatives
        .iter()
        .map(|alternative| match alternative {
            Expr::Symbol(name) => Some(values.tristate(name)),
            _ => None,
        })
        .collect();
    match symbols {
        Some(found) => {
            Condition::AnyOf { text, count: found.len(), all_n: found.iter().all(|value| *value == Tristate::N) }
        }
        None => Condition::Other { text },
    }
}

fn first_macro(condition: &Expr) -> Option<&str> {
    match condition {
        Expr::Macro(text) | Expr::Compare(Operand::Macro(text), _, _) | Expr::Compare(_, _, Operand::Macro(text)) => {
            Some(text)
        }
        Expr::Not(inner) => first_macro(inner),
        Expr::All(parts) | Expr::Any(parts) => parts.iter().find_map(first_macro),
        _ => None,
    }
}

/// What runs to find out the value of a macro, by the macro's name (scripts/Kconfig.include).
fn decider(text: &str) -> &'static str {
    let name = text.trim_start_matches("$(");
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    if starts(&["cc-", "gcc-", "clang-", "m32-", "m64-"]) {
        "the compiler"
    } else if starts(&["as-"]) {
        "the assembler"
    } else if starts(&["ld-"]) {
        "the linker"
    } else if starts(&["rustc-"]) {
        "the Rust compiler"
    } else {
        "a command that the kernel's configuration runs"
    }
}

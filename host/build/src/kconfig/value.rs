//! What symbols and conditions come to in a finished configuration.

use super::declare::{Declaration, Declared, Kind, Setter, Symbol};
use super::expr::{Expr, Operand, Operator, Tristate, number};
use crate::config::KernelConfig;
use crate::merge::{Asked, Merged};

/// The lowest and the highest value that a condition can have. They differ where a macro has a part in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) low: Tristate,
    pub(super) high: Tristate,
}

impl Bounds {
    const UNKNOWN: Self = Self { low: Tristate::N, high: Tristate::Y };

    fn exactly(value: Tristate) -> Self {
        Self { low: value, high: value }
    }
}

/// The declarations beside a configuration, and what was asked of it.
#[derive(Clone, Copy)]
pub(super) struct Values<'a> {
    pub(super) declared: &'a Declared,
    pub(super) config: &'a KernelConfig,
    pub(super) requests: &'a Merged,
}

impl<'a> Values<'a> {
    pub(super) fn kind(self, name: &str) -> Option<Kind> {
        self.declared.symbols.get(name)?.kind
    }

    pub(super) fn is_declared(self, name: &str) -> bool {
        self.declared.symbols.contains_key(name)
    }

    pub(super) fn has_prompt(self, name: &str) -> bool {
        let symbol = self.declared.symbols.get(name);
        symbol.is_some_and(|symbol| symbol.declarations.iter().any(|declaration| !declaration.prompts.is_empty()))
    }

    /// What was asked of the symbol, if anything.
    pub(super) fn request(self, name: &str) -> Option<&'a Asked> {
        self.requests.get(&format!("CONFIG_{name}"))
    }

    /// Whether the symbol has a prompt, or something that sets it.
    pub(super) fn can_be_set(self, name: &str) -> bool {
        let has_default = |declaration: &Declaration| declaration.default_conditions().next().is_some();
        let by_default = |symbol: &Symbol| symbol.declarations.iter().any(has_default);
        let symbol = self.declared.symbols.get(name);
        symbol.is_some_and(|symbol| self.has_prompt(name) || !self.setters(name).is_empty() || by_default(symbol))
    }

    pub(super) fn tristate(self, name: &str) -> Tristate {
        self.config.get(&format!("CONFIG_{name}")).and_then(Tristate::parse).unwrap_or(Tristate::N)
    }

    pub(super) fn modules(self) -> bool {
        self.tristate("MODULES") == Tristate::Y
    }

    /// The value as a text without quotes. An undeclared symbol is a text with its own name in the kernel's Kconfig.
    pub(super) fn text(self, name: &str) -> String {
        let value = self.config.get(&format!("CONFIG_{name}"));
        match (value, self.kind(name)) {
            (Some(value), _) => value.trim_matches('"').to_owned(),
            (None, Some(Kind::Bool | Kind::Tristate)) => "n".to_owned(),
            (None, Some(_)) => String::new(),
            (None, None) if self.is_declared(name) => "n".to_owned(),
            (None, None) => name.to_owned(),
        }
    }

    /// The symbols that select this one now, with the value that they give it.
    pub(super) fn selected_by(self, name: &str) -> Vec<(&'a str, Tristate)> {
        let strong = self.setters(name).iter().filter(|setter| !setter.weak);
        strong
            .map(|setter| {
                let value = self.tristate(&setter.symbol).min(self.bounds(&setter.condition).high);
                (setter.symbol.as_str(), value)
            })
            .filter(|(_, value)| *value > Tristate::N)
            .collect()
    }

    pub(super) fn setters(self, name: &str) -> &'a [Setter] {
        self.declared.setters.get(name).map_or(&[], Vec::as_slice)
    }

    pub(super) fn bounds(self, condition: &Expr) -> Bounds {
        match condition {
            Expr::Symbol(name) => Bounds::exactly(self.tristate(name)),
            // `m` stands for `m && MODULES` (`rewrite_m` in scripts/kconfig/menu.c).
            Expr::Constant(Tristate::M) if !self.modules() => Bounds::exactly(Tristate::N),
            Expr::Constant(value) => Bounds::exactly(*value),
            Expr::Macro(_) => Bounds::UNKNOWN,
            Expr::Compare(left, operator, right) => self.compare(left, *operator, right),
            Expr::Not(inner) => {
                let inner = self.bounds(inner);
                Bounds { low: inner.high.inverted(), high: inner.low.inverted() }
            }
            Expr::All(parts) => {
                parts.iter().map(|part| self.bounds(part)).fold(Bounds::exactly(Tristate::Y), |all, part| Bounds {
                    low: all.low.min(part.low),
                    high: all.high.min(part.high),
                })
            }
            Expr::Any(parts) => {
                parts.iter().map(|part| self.bounds(part)).fold(Bounds::exactly(Tristate::N), |any, part| Bounds {
                    low: any.low.max(part.low),
                    high: any.high.max(part.high),
                })
            }
        }
    }

    pub(super) fn operand(self, operand: &Operand) -> Option<String> {
        match operand {
            Operand::Symbol(name) => Some(self.text(name)),
            Operand::Text(text) => Some(text.clone()),
            Operand::Macro(_) => None,
        }
    }

    fn compare(self, left: &Operand, operator: Operator, right: &Operand) -> Bounds {
        let (Some(left), Some(right)) = (self.operand(left), self.operand(right)) else { return Bounds::UNKNOWN };
        // Numbers and tristates have an order of their own (`expr_calc_value` in scripts/kconfig/expr.c).
        let rank = |text: &str| number(text).or_else(|| Tristate::parse(text).map(|value| value as i128));
        let order = match (rank(&left), rank(&right)) {
            (Some(left), Some(right)) => left.cmp(&right),
            _ => left.cmp(&right),
        };
        let holds = match operator {
            Operator::Less => order.is_lt(),
            Operator::LessOrEqual => order.is_le(),
            Operator::Equal => order.is_eq(),
            Operator::NotEqual => order.is_ne(),
            Operator::GreaterOrEqual => order.is_ge(),
            Operator::Greater => order.is_gt(),
        };
        Bounds::exactly(if holds { Tristate::Y } else { Tristate::N })
    }
}

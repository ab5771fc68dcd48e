//! The reasons, as data. `text` puts them in words.

use super::declare::Kind;
use super::expr::Tristate;

/// Why a symbol does not have the value that was asked for.
///
/// Displays as a clause that continues "CONFIG_X=y was asked for by net.config:12; it is not set, because ".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why(pub(super) Reason);

/// Names of symbols have no prefix, except in `nearest` and in the texts of conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reason {
    NoSuchSymbol {
        nearest: Vec<String>,
    },
    NotOfType {
        kind: Kind,
        asked: String,
    },
    ModulesOff,
    Unmet(Vec<Unmet>),
    /// It has no prompt, and these symbols select or imply it; those first that can be asked for. Texts with prefixes, and
    /// with the condition of the `select` where the symbol is set and the condition does not hold.
    SetBy(Vec<String>),
    /// It has no prompt, and no symbol or default sets it.
    NeverSet,
    /// It has no prompt, and its default gives the value that it has.
    DefaultSets,
    SelectedBy(Vec<(String, Tristate)>),
    /// This other member of its choice is set.
    OtherOfChoice(String),
    /// One member of its choice must be set; these are the others.
    OneOfChoice(Vec<String>),
    OutOfRange {
        low: String,
        high: String,
    },
    /// Nothing keeps it from the value.
    Free,
    /// It has a prompt and unmet dependencies, which would be too many words.
    Blocked,
    /// This line asks for the value that it has.
    AsAsked(String),
    /// This line asks for the value that is needed, in vain: that request has a reason of its own.
    AskedInVain(String),
}

/// How a symbol depends on a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    /// `depends on`, and the blocks around the declaration.
    Depends,
    /// The `if` of the prompt.
    Prompt,
    /// `visible if` of a menu.
    Menu,
    /// The value and the `if` of a default, where there is no prompt.
    Default,
}

/// A condition that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unmet {
    pub(super) relation: Relation,
    pub(super) condition: Condition,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    /// The symbol must be more than its value; `because` says why it is not, where that helps.
    Symbol {
        name: String,
        value: Tristate,
        /// Whether it has a prompt, and nothing asks for it yet.
        to_ask: bool,
        because: Option<Box<Reason>>,
    },
    Undeclared {
        name: String,
    },
    /// The symbol must be n; these symbols select it.
    Inverted {
        name: String,
        value: Tristate,
        selected_by: Vec<String>,
    },
    /// One of several symbols must be set.
    AnyOf {
        text: String,
        count: usize,
        all_n: bool,
    },
    /// Each alternative needs a symbol that is not declared.
    NoneDeclared {
        text: String,
        count: usize,
    },
    /// A comparison, with the values of its symbols.
    Compare {
        text: String,
        values: Vec<(String, String)>,
    },
    /// A macro has a part in it.
    Macro {
        text: String,
        decided_by: &'static str,
    },
    /// The constant `m`.
    Modules,
    Other {
        text: String,
    },
}

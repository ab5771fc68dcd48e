//! Conditions of the Kconfig language, in a form that is easy to evaluate and to print.

use std::fmt;

/// A text that names more than this is cut: some symbols depend on one of 40 boards.
const TEXT_MAX: usize = 160;

/// The values of the Kconfig language, in their order: `n` < `m` < `y`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tristate {
    N,
    M,
    Y,
}

impl Tristate {
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "n" => Some(Self::N),
            "m" => Some(Self::M),
            "y" => Some(Self::Y),
            _ => None,
        }
    }

    /// `2 - value` in the kernel's words (Documentation/kbuild/kconfig-language.rst, "Menu dependencies").
    pub(super) fn inverted(self) -> Self {
        match self {
            Self::N => Self::Y,
            Self::M => Self::M,
            Self::Y => Self::N,
        }
    }
}

impl fmt::Display for Tristate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::N => "n",
            Self::M => "m",
            Self::Y => "y",
        })
    }
}

/// A number as Kconfig writes it: decimal, or hexadecimal after `0x`.
pub(super) fn number(text: &str) -> Option<i128> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => i128::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// One side of a comparison. Names of symbols have no prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Operand {
    Symbol(String),
    Text(String),
    Macro(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Less,
    LessOrEqual,
    Equal,
    NotEqual,
    GreaterOrEqual,
    Greater,
}

impl Operator {
    fn inverted(self) -> Self {
        match self {
            Self::Less => Self::GreaterOrEqual,
            Self::LessOrEqual => Self::Greater,
            Self::Equal => Self::NotEqual,
            Self::NotEqual => Self::Equal,
            Self::GreaterOrEqual => Self::Less,
            Self::Greater => Self::LessOrEqual,
        }
    }
}

/// A condition. `Not` stands before symbols and macros only, and an `All` or `Any` holds no other of its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expr {
    Symbol(String),
    Constant(Tristate),
    /// A call such as `$(cc-option,-fx)`: its value is known when the kernel is configured, and not here.
    Macro(String),
    Compare(Operand, Operator, Operand),
    Not(Box<Expr>),
    All(Vec<Expr>),
    Any(Vec<Expr>),
}

impl Expr {
    pub(super) fn all(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut flat = Vec::new();
        for part in parts {
            match part {
                Self::All(inner) => flat.extend(inner),
                other => flat.push(other),
            }
        }
        if flat.len() == 1 { flat.remove(0) } else { Self::All(flat) }
    }

    pub(super) fn any(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut flat = Vec::new();
        for part in parts {
            match part {
                Self::Any(inner) => flat.extend(inner),
                other => flat.push(other),
            }
        }
        if flat.len() == 1 { flat.remove(0) } else { Self::Any(flat) }
    }

    /// The opposite, with `!` moved inwards: `!(A || B)` is `!A && !B`. That holds for three values too.
    #[must_use]
    pub(super) fn inverted(self) -> Self {
        match self {
            Self::Constant(value) => Self::Constant(value.inverted()),
            Self::Compare(left, operator, right) => Self::Compare(left, operator.inverted(), right),
            Self::Not(inner) => *inner,
            Self::All(parts) => Self::any(parts.into_iter().map(Self::inverted)),
            Self::Any(parts) => Self::all(parts.into_iter().map(Self::inverted)),
            atom => Self::Not(Box::new(atom)),
        }
    }

    /// The conditions that must all hold.
    pub(super) fn parts(&self) -> &[Self] {
        match self {
            Self::All(parts) => parts,
            other => std::slice::from_ref(other),
        }
    }

    /// The printed form, cut at a `||` or `&&` if it is too long for a message.
    pub(super) fn short(&self) -> String {
        let text = self.to_string();
        if text.len() <= TEXT_MAX {
            return text;
        }
        let head = &text[..text.floor_char_boundary(TEXT_MAX)];
        let end = head.rfind(" || ").max(head.rfind(" && ")).map_or(head.len(), |at| at + " ||".len());
        format!("{} ...", &head[..end])
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Symbol(name) => write!(f, "CONFIG_{name}"),
            Self::Macro(text) => f.write_str(text),
            Self::Text(text) if number(text).is_some() || Tristate::parse(text).is_some() => f.write_str(text),
            Self::Text(text) => write!(f, "\"{text}\""),
        }
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::GreaterOrEqual => ">=",
            Self::Greater => ">",
        })
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (parts, separator) = match self {
            Self::Symbol(name) => return write!(f, "CONFIG_{name}"),
            Self::Constant(value) => return write!(f, "{value}"),
            Self::Macro(text) => return f.write_str(text),
            Self::Compare(left, operator, right) => return write!(f, "{left} {operator} {right}"),
            Self::Not(inner) => return write!(f, "!{inner}"),
            Self::All(parts) => (parts, " && "),
            Self::Any(parts) => (parts, " || "),
        };
        for (index, part) in parts.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { separator })?;
            match part {
                Self::All(_) | Self::Any(_) => write!(f, "({part})")?,
                _ => write!(f, "{part}")?,
            }
        }
        Ok(())
    }
}

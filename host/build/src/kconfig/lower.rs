//! From nom-kconfig's syntax trees of expressions to [`Expr`].

use nom_kconfig::attribute::r#macro::Macro;
use nom_kconfig::attribute::range::RangeBound;
use nom_kconfig::attribute::{
    AndExpression, Atom, CompareOperator, Expression, OrExpression, Term, expression::CompareOperand, parse_expression,
};
use nom_kconfig::symbol::ConstantSymbol;
use nom_kconfig::tristate::Tristate as ParsedTristate;
use nom_kconfig::{KconfigFile, KconfigInput, Symbol};

use super::expr::{Expr, Operand, Operator, Tristate};

pub(super) fn expression(parsed: &Expression) -> Expr {
    match parsed {
        OrExpression::Term(only) => conjunction(only),
        OrExpression::Expression(parts) => Expr::any(parts.iter().map(conjunction)),
    }
}

/// No condition is one that always holds.
pub(super) fn condition(parsed: Option<&Expression>) -> Expr {
    parsed.map_or(Expr::Constant(Tristate::Y), expression)
}

/// The condition of a prompt; `None` where the text is no prompt.
///
/// nom-kconfig 0.13 takes the rest of the line for the prompt where it finds no quoted text of characters that it knows:
/// for `bool # comment`, and with the condition in it for ``bool "the `kernel` crate" if X``.
pub(super) fn prompt(text: &str, parsed: Option<&Expression>) -> Option<Expr> {
    if text.starts_with('#') {
        return None;
    }
    let hidden = text.strip_prefix('"').and_then(|rest| rest.rsplit_once("\" if "));
    if let (None, Some((_, rest))) = (parsed, hidden) {
        let input = KconfigInput::new_extra(rest, KconfigFile::default());
        if let Ok((_, found)) = parse_expression(input) {
            return Some(expression(&found));
        }
    }
    Some(condition(parsed))
}

pub(super) fn bound(parsed: &RangeBound) -> Operand {
    match parsed {
        RangeBound::Hex(text) => Operand::Text(text.clone()),
        RangeBound::Number(number) => Operand::Text(number.to_string()),
        RangeBound::Symbol(name) => Operand::Symbol(name.clone()),
        RangeBound::Variable(name) => Operand::Macro(format!("$({name})")),
    }
}

fn conjunction(parsed: &AndExpression) -> Expr {
    match parsed {
        AndExpression::Term(only) => term(only),
        AndExpression::Expression(parts) => Expr::all(parts.iter().map(term)),
    }
}

fn term(parsed: &Term) -> Expr {
    match parsed {
        Term::Not(inner) => atom(inner).inverted(),
        Term::Atom(inner) => atom(inner),
    }
}

fn atom(parsed: &Atom) -> Expr {
    match parsed {
        Atom::Symbol(parsed) => match symbol(parsed) {
            Operand::Symbol(name) => Expr::Symbol(name),
            Operand::Macro(text) => Expr::Macro(text),
            // As in the kernel (scripts/kconfig/symbol.c), a constant that is no tristate counts as n.
            Operand::Text(text) => Expr::Constant(Tristate::parse(&text).unwrap_or(Tristate::N)),
        },
        Atom::Compare(parsed) => {
            Expr::Compare(operand(&parsed.left), operator(&parsed.operator), operand(&parsed.right))
        }
        Atom::Macro(parsed) => Expr::Macro(macro_text(parsed)),
        Atom::Parenthesis(inner) => expression(inner),
    }
}

fn operand(parsed: &CompareOperand) -> Operand {
    match parsed {
        CompareOperand::Symbol(parsed) => symbol(parsed),
        CompareOperand::Macro(parsed) => Operand::Macro(macro_text(parsed)),
    }
}

fn symbol(parsed: &Symbol) -> Operand {
    let text = match parsed {
        Symbol::NonConstant(name) if name.starts_with("$(") => return Operand::Macro(name.clone()),
        Symbol::NonConstant(name) => return Operand::Symbol(name.clone()),
        Symbol::Constant(ConstantSymbol::String(text)) if text.contains("$(") => return Operand::Macro(text.clone()),
        Symbol::Constant(ConstantSymbol::String(text) | ConstantSymbol::Hex(text)) => text.clone(),
        Symbol::Constant(ConstantSymbol::Integer(number)) => number.to_string(),
        Symbol::Constant(ConstantSymbol::Boolean(value)) => if *value { "y" } else { "n" }.to_owned(),
        Symbol::Constant(ConstantSymbol::Tristate(value)) => match value {
            ParsedTristate::Yes => "y",
            ParsedTristate::Module => "m",
            ParsedTristate::No => "n",
        }
        .to_owned(),
    };
    Operand::Text(text)
}

fn operator(parsed: &CompareOperator) -> Operator {
    match parsed {
        CompareOperator::LowerThan => Operator::Less,
        CompareOperator::LowerOrEqual => Operator::LessOrEqual,
        CompareOperator::Equal => Operator::Equal,
        CompareOperator::NotEqual => Operator::NotEqual,
        CompareOperator::GreaterOrEqual => Operator::GreaterOrEqual,
        CompareOperator::GreaterThan => Operator::Greater,
    }
}

/// As it is written in Kconfig files: no space after the commas.
fn macro_text(parsed: &Macro) -> String {
    match parsed {
        Macro::Variable(name) => format!("$({name})"),
        Macro::DoubleQuoted(inner) => macro_text(inner),
        Macro::FunctionCall(call) => {
            let parameters = call.parameters.iter().map(|parameter| format!(",{parameter}"));
            format!("$({}{})", call.name, parameters.collect::<String>())
        }
    }
}

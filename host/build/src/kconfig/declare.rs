//! Collects the declarations of symbols from the statements of all files.

use std::collections::BTreeMap;
use std::sync::Arc;

use nom_kconfig::attribute::r#type::{ConfigType, Type};
use nom_kconfig::attribute::{DefaultAttribute, depends_on::DependsOn};
use nom_kconfig::entry::{Choice, Config, Menu};
use nom_kconfig::{Attribute, Entry, Symbol as ParsedSymbol};

use super::error::KconfigError;
use super::expr::{Expr, Operand, Tristate};
use super::files::{Reader, Sourced};
use super::lower;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Tristate,
    Int,
    Hex,
    Text,
}

/// A symbol, declared in one or more places.
#[derive(Debug, Default)]
pub(super) struct Symbol {
    pub(super) kind: Option<Kind>,
    pub(super) declarations: Vec<Declaration>,
}

/// One `config` statement, with what the blocks around it add.
#[derive(Debug)]
pub(super) struct Declaration {
    /// `depends on` of the statement, and the conditions of `if`, `menu` and `choice` around it.
    pub(super) depends: Vec<Arc<Expr>>,
    /// `visible if` of the menus around it.
    pub(super) visible: Vec<Arc<Expr>>,
    /// The condition of each prompt. Without prompt a symbol cannot be asked for.
    pub(super) prompts: Vec<Expr>,
    /// Value and condition.
    pub(super) defaults: Vec<(Expr, Expr)>,
    pub(super) ranges: Vec<(Operand, Operand, Expr)>,
    /// The index of the choice that it is a member of.
    pub(super) choice: Option<usize>,
}

/// A symbol that sets another one with `select` or `imply`.
#[derive(Debug)]
pub(super) struct Setter {
    pub(super) symbol: String,
    pub(super) condition: Expr,
    /// `imply`: a prompt can still clear the symbol.
    pub(super) weak: bool,
}

/// What all files declare. Names have no prefix.
#[derive(Debug, Default)]
pub(super) struct Declared {
    pub(super) symbols: BTreeMap<String, Symbol>,
    pub(super) setters: BTreeMap<String, Vec<Setter>>,
    /// The members of each choice.
    pub(super) choices: Vec<Vec<String>>,
}

/// What the blocks around a statement add to it.
#[derive(Debug, Clone, Default)]
struct Scope {
    depends: Vec<Arc<Expr>>,
    visible: Vec<Arc<Expr>>,
    choice: Option<usize>,
}

impl Scope {
    fn add_depends(&mut self, parsed: &DependsOn) {
        self.depends.push(Arc::new(depends(parsed)));
    }
}

/// `depends on A if B` (7.3 has it, 6.12 does not) says that A must hold if B does.
fn depends(parsed: &DependsOn) -> Expr {
    let asked = lower::expression(&parsed.expression);
    match &parsed.r#if {
        None => asked,
        Some(condition) => Expr::any([asked, lower::expression(condition).inverted()]),
    }
}

pub(super) fn read(reader: &mut Reader<'_>) -> Result<Declared, KconfigError> {
    let mut declared = Declared::default();
    declared.file(reader, &Sourced::top(), &Scope::default())?;
    Ok(declared)
}

impl Declared {
    fn file(&mut self, reader: &mut Reader<'_>, sourced: &Sourced, scope: &Scope) -> Result<(), KconfigError> {
        let parsed = reader.parse(sourced)?;
        self.entries(reader, &parsed.entries, &|comment| parsed.source(comment).cloned(), scope)
    }

    fn entries(
        &mut self,
        reader: &mut Reader<'_>,
        entries: &[Entry],
        source: &dyn Fn(&str) -> Option<Sourced>,
        scope: &Scope,
    ) -> Result<(), KconfigError> {
        for entry in entries {
            match entry {
                Entry::Config(config) | Entry::MenuConfig(config) => self.config(config, scope),
                Entry::Comment(comment) => {
                    if let Some(sourced) = source(&comment.prompt) {
                        self.file(reader, &sourced, scope)?;
                    }
                }
                Entry::If(block) => {
                    let mut inner = scope.clone();
                    inner.depends.push(Arc::new(lower::expression(&block.condition)));
                    self.entries(reader, &block.entries, source, &inner)?;
                }
                Entry::Menu(menu) => self.entries(reader, &menu.entries, source, &menu_scope(menu, scope))?,
                Entry::Choice(choice) => {
                    let inner = self.choice_scope(choice, scope);
                    self.entries(reader, &choice.entries, source, &inner)?;
                }
                // Macros are not evaluated, and nom-kconfig is given no `source` statement.
                Entry::Source(_)
                | Entry::VariableAssignment(_)
                | Entry::FunctionCall(_)
                | Entry::Function(_)
                | Entry::MainMenu(_) => {}
            }
        }
        Ok(())
    }

    /// The condition of a choice's prompt counts for its members, too (`menu_finalize` in scripts/kconfig/menu.c).
    fn choice_scope(&mut self, choice: &Choice, scope: &Scope) -> Scope {
        let mut inner = Scope { choice: Some(self.choices.len()), ..scope.clone() };
        self.choices.push(Vec::new());
        for attribute in &choice.options {
            match attribute {
                Attribute::DependsOn(parsed) => inner.add_depends(parsed),
                Attribute::Prompt(prompt) => {
                    inner.depends.extend(lower::prompt(&prompt.prompt, prompt.r#if.as_ref()).map(Arc::new));
                }
                Attribute::Type(ConfigType { r#type: Type::Bool(Some(text)) | Type::Tristate(Some(text)), r#if }) => {
                    inner.depends.extend(lower::prompt(text, r#if.as_ref()).map(Arc::new));
                }
                _ => {}
            }
        }
        inner
    }

    fn config(&mut self, config: &Config, scope: &Scope) {
        let name = config.symbol.trim().to_owned();
        let mut kind = None;
        let mut declaration = Declaration {
            depends: scope.depends.clone(),
            visible: scope.visible.clone(),
            prompts: Vec::new(),
            defaults: Vec::new(),
            ranges: Vec::new(),
            choice: scope.choice,
        };
        for attribute in &config.attributes {
            match attribute {
                Attribute::Type(parsed) => kind = Some(declaration.add_type(parsed)),
                Attribute::DependsOn(parsed) => declaration.depends.push(Arc::new(depends(parsed))),
                Attribute::Prompt(prompt) => {
                    declaration.prompts.extend(lower::prompt(&prompt.prompt, prompt.r#if.as_ref()));
                }
                Attribute::Default(DefaultAttribute { expression, r#if }) => {
                    declaration.defaults.push((lower::expression(expression), lower::condition(r#if.as_ref())));
                }
                Attribute::Range(range) => declaration.ranges.push((
                    lower::bound(&range.lower_bound),
                    lower::bound(&range.upper_bound),
                    lower::condition(range.r#if.as_ref()),
                )),
                Attribute::Select(select) => self.setter(&name, &select.symbol, select.r#if.as_ref(), false),
                Attribute::Imply(imply) => {
                    if let ParsedSymbol::NonConstant(target) = &imply.symbol {
                        self.setter(&name, target, imply.r#if.as_ref(), true);
                    }
                }
                _ => {}
            }
        }
        if let Some(members) = scope.choice.and_then(|index| self.choices.get_mut(index)) {
            members.push(name.clone());
        }
        let symbol = self.symbols.entry(name).or_default();
        symbol.kind = symbol.kind.or(kind);
        symbol.declarations.push(declaration);
    }

    fn setter(&mut self, name: &str, target: &str, condition: Option<&nom_kconfig::attribute::Expression>, weak: bool) {
        let setter = Setter { symbol: name.to_owned(), condition: lower::condition(condition), weak };
        self.setters.entry(target.to_owned()).or_default().push(setter);
    }
}

impl Declaration {
    fn add_type(&mut self, parsed: &ConfigType) -> Kind {
        let condition = parsed.r#if.as_ref();
        let (kind, prompt) = match &parsed.r#type {
            Type::Bool(prompt) => (Kind::Bool, prompt),
            Type::Tristate(prompt) => (Kind::Tristate, prompt),
            Type::Int(prompt) => (Kind::Int, prompt),
            Type::Hex(prompt) => (Kind::Hex, prompt),
            Type::String(prompt) => (Kind::Text, prompt),
            Type::DefBool(value) => {
                self.defaults.push((lower::expression(value), lower::condition(condition)));
                return Kind::Bool;
            }
            Type::DefTristate(value) => {
                self.defaults.push((lower::expression(value), lower::condition(condition)));
                return Kind::Tristate;
            }
        };
        self.prompts.extend(prompt.as_deref().and_then(|text| lower::prompt(text, condition)));
        kind
    }

    /// The values that its defaults can give, each as the condition for it.
    pub(super) fn default_conditions(&self) -> impl Iterator<Item = Expr> {
        self.defaults
            .iter()
            .map(|(value, condition)| Expr::all([value.clone(), condition.clone()]))
            .filter(|condition| !condition.parts().contains(&Expr::Constant(Tristate::N)))
    }
}

fn menu_scope(menu: &Menu, scope: &Scope) -> Scope {
    let mut inner = scope.clone();
    for parsed in &menu.depends_on {
        inner.add_depends(parsed);
    }
    if let Some(Some(visible)) = &menu.visible {
        inner.visible.push(Arc::new(lower::expression(visible)));
    }
    inner
}

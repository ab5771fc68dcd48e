//! Values that shells complete, for arguments that also accept others.

use std::ffi::OsStr;

use clap::builder::{PossibleValue, TypedValueParser};
use clap::{Arg, Command, Error};
use vmlab_features::render::Form;
use vmlab_image::guest_init;
use vmlab_report::FORMATS;

/// A parser with values for completion. It accepts what its inner parser accepts. An argument with this parser needs
/// `hide_possible_values`, because its help describes the values already.
#[derive(Clone)]
pub(crate) struct Suggest<P> {
    parser: P,
    values: fn() -> Vec<PossibleValue>,
}

/// Lets shells complete `values`.
pub(crate) const fn suggest<P>(parser: P, values: fn() -> Vec<PossibleValue>) -> Suggest<P> {
    Suggest { parser, values }
}

/// The report formats.
pub(crate) fn formats() -> Vec<PossibleValue> {
    FORMATS.iter().map(|row| PossibleValue::new(row.name)).collect()
}

/// The report formats, and the forms of the table of features.
pub(crate) fn report_formats() -> Vec<PossibleValue> {
    let forms = Form::names().into_iter().filter(|name| FORMATS.iter().all(|row| row.name != *name));
    formats().into_iter().chain(forms.map(PossibleValue::new)).collect()
}

/// The names of all scenarios.
pub(crate) fn scenarios() -> Vec<PossibleValue> {
    let catalogue = guest_init::catalogue().unwrap_or_default();
    catalogue.iter().map(|spec| PossibleValue::new(spec.id.as_str()).help(spec.title.as_str())).collect()
}

impl<P: TypedValueParser> TypedValueParser for Suggest<P> {
    type Value = P::Value;

    fn parse_ref(&self, command: &Command, argument: Option<&Arg>, value: &OsStr) -> Result<P::Value, Error> {
        self.parser.parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new((self.values)().into_iter()))
    }
}

//! One object, for programs.

use serde_json::json;

use super::Comparison;

/// The version of the object's form.
const FORMAT: u32 = 1;

pub(super) fn render(comparison: &Comparison) -> String {
    let Comparison { pairs, only_old, only_new } = comparison;
    let object = json!({
        "format": FORMAT,
        "regression": comparison.is_regression(),
        "only_old": only_old,
        "only_new": only_new,
        "pairs": pairs,
    });
    format!("{object:#}\n")
}

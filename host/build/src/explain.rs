//! Says why requested symbols are not as asked.

use std::path::Path;

use crate::config::KernelConfig;
use crate::kconfig::Kconfig;
use crate::merge::Unmet;

/// A sentence for each request that the config does not meet. Reads the Kconfig files of the tree, which takes seconds.
pub(crate) fn sentences(tree: &Path, unmet: &[Unmet], config: &KernelConfig) -> Vec<String> {
    match Kconfig::read(tree) {
        Ok(kconfig) => unmet
            .iter()
            .map(|unmet| format!("{}, because {}", fact(unmet), kconfig.why(&unmet.symbol, &unmet.asked.value, config)))
            .collect(),
        // The facts matter more than the reasons.
        Err(error) => {
            let unknown = format!("the reasons are not known: {error}");
            unmet.iter().map(fact).chain([unknown]).collect()
        }
    }
}

fn fact(unmet: &Unmet) -> String {
    let Unmet { symbol, asked, is } = unmet;
    let is = is.as_ref().map_or_else(|| "it is not set".to_owned(), |is| format!("it is {is}"));
    format!("{symbol}={} was asked for by {}; {is}", asked.value, asked.by)
}

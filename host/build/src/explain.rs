//! Says why requested symbols are not as asked.

use std::path::Path;

use crate::config::KernelConfig;
use crate::kconfig::{Kconfig, KconfigError};
use crate::merge::{Asked, Merged, Unmet};

/// A sentence for each request that the config does not meet. Reads the Kconfig files of the tree, which takes seconds.
pub(crate) fn sentences(tree: &Path, unmet: &[Unmet], config: &KernelConfig, merged: &Merged) -> Vec<String> {
    match Kconfig::read(tree) {
        Ok(kconfig) => unmet
            .iter()
            .map(|unmet| {
                let why = kconfig.why(&unmet.symbol, &unmet.asked.value, config, merged);
                format!("{}, because {why}", fact(unmet))
            })
            .collect(),
        // The facts matter more than the reasons.
        Err(error) => {
            let unknown = format!("the reasons are not known: {error}");
            unmet.iter().map(fact).chain([unknown]).collect()
        }
    }
}

/// A sentence for each of these requests whose symbol the tree does not have: a symbol that is to be off may be misspelt, and the
/// config looks as asked. As [`sentences`], reads the Kconfig files.
pub(crate) fn unknown(tree: &Path, requests: &[(String, Asked)]) -> Result<Vec<String>, KconfigError> {
    let kconfig = Kconfig::read(tree)?;
    let off = KernelConfig::parse("");
    let unknown = requests.iter().filter(|(symbol, _)| !kconfig.has(symbol));
    let sentence = |(symbol, asked): &(String, Asked)| {
        let why = kconfig.why(symbol, &asked.value, &off, &Merged::default());
        format!("{symbol}={} was asked for by {}, and {why}", asked.value, asked.by)
    };
    Ok(unknown.map(sentence).collect())
}

fn fact(unmet: &Unmet) -> String {
    let Unmet { symbol, asked, is } = unmet;
    let is = is.as_ref().map_or_else(|| "it is not set".to_owned(), |is| format!("it is {is}"));
    format!("{symbol}={} was asked for by {}; {is}", asked.value, asked.by)
}

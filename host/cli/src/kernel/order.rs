//! `vmlab kernel build|config|fragments`: kernels built from source.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;

use serde::Serialize;
use vmlab_build::library;
use vmlab_kernel::config::KernelConfig;
use vmlab_kernel::{FetchPolicy, How, Kernel, KernelSource, ordered};
use vmlab_store::dirs::Dirs;

use crate::{Failure, output, progress};

/// Builds kernels, and prints name, release and path of each.
pub(super) async fn build(sources: &[KernelSource], dirs: &Dirs, jobs: Option<NonZeroUsize>) -> Result<(), Failure> {
    let how = How { jobs, ..FetchPolicy::CacheFirst.into() };
    for source in sources {
        if !matches!(source, KernelSource::Order(_)) {
            return Err(Failure::usage(format!(
                "{source} is not a kernel that vmlab builds: expected source:SUITE[+FRAGMENT]... or tree:PATH[+FRAGMENT]..."
            )));
        }
        let kernel = vmlab_kernel::obtain(source, dirs, how, &progress()).await?;
        output::notes(&kernel.notices);
        output::print(&format!("{}  {}  {}\n", kernel.label, kernel.release, kernel.path.display()))?;
    }
    Ok(())
}

/// A symbol of a config.
#[derive(Debug, Serialize)]
struct Symbol {
    value: String,
    /// The fragment and line that asked for it; `null` for a value that follows from others.
    from: Option<String>,
}

/// Prints a kernel's config, and where each symbol comes from. An ordered kernel that is not built yet has only what was asked.
pub(super) async fn config(source: &KernelSource, dirs: &Dirs, json: bool) -> Result<(), Failure> {
    let symbols = symbols(source, dirs).await?;
    if json {
        return output::print_json(&symbols);
    }
    let width = symbols.iter().map(|(name, symbol)| name.len() + symbol.value.len() + 1).filter(|n| *n < 60).max();
    let line = |(name, symbol): (&String, &Symbol)| {
        let setting = format!("{name}={}", symbol.value);
        match &symbol.from {
            Some(from) => format!("{setting:<width$}  # {from}\n", width = width.unwrap_or_default()),
            None => setting + "\n",
        }
    };
    output::print(&symbols.iter().map(line).collect::<String>())
}

/// Prints the symbols that differ between two kernels' configs.
pub(super) async fn diff(one: &KernelSource, other: &KernelSource, dirs: &Dirs, json: bool) -> Result<(), Failure> {
    let (first, second) = (symbols(one, dirs).await?, symbols(other, dirs).await?);
    let names: BTreeSet<&String> = first.keys().chain(second.keys()).collect();
    let value =
        |symbols: &BTreeMap<String, Symbol>, name| symbols.get(name).map_or("n", |s: &Symbol| &s.value).to_owned();
    let differing = names.into_iter().map(|name| (name, [value(&first, name), value(&second, name)]));
    let differing: BTreeMap<&String, [String; 2]> = differing.filter(|(_, [a, b])| a != b).collect();
    if json {
        return output::print_json(&differing);
    }
    if differing.is_empty() {
        output::notes(&[format!("the configs of {one} and {other} do not differ")]);
        return Ok(());
    }
    let mut rows = vec![["SYMBOL".to_owned(), one.to_string(), other.to_string()]];
    rows.extend(differing.into_iter().map(|(name, [a, b])| [name.clone(), a, b]));
    output::print(&output::columns(&rows))
}

/// Prints the text of a fragment.
pub(super) fn fragment(name: &str) -> Result<(), Failure> {
    let unknown = || {
        let nearest = library::nearest(name).map(|near| format!("; the nearest is `{near}`")).unwrap_or_default();
        Failure::usage(format!("vmlab has no config fragment `{name}`{nearest}; `vmlab kernel fragments` lists them"))
    };
    output::print(library::text(name).ok_or_else(unknown)?)
}

/// Prints the config fragments.
pub(super) fn fragments(json: bool) -> Result<(), Failure> {
    let fragments = vmlab_kernel::fragments();
    if json {
        return output::print_json(&fragments.collect::<BTreeMap<_, _>>());
    }
    let mut rows = vec![["FRAGMENT", "WHAT"].map(str::to_owned)];
    rows.extend(fragments.map(|(name, what)| [name.to_owned(), what]));
    output::print(&output::columns(&rows))
}

/// The symbols of a kernel's config.
async fn symbols(source: &KernelSource, dirs: &Dirs) -> Result<BTreeMap<String, Symbol>, Failure> {
    let of_config = |config: &KernelConfig| -> BTreeMap<String, Symbol> {
        config
            .symbols()
            .map(|(name, value)| (name.to_owned(), Symbol { value: value.to_owned(), from: None }))
            .collect()
    };
    let KernelSource::Order(order) = source else {
        let kernel: Kernel = vmlab_kernel::obtain(source, dirs, FetchPolicy::CacheFirst.into(), &progress()).await?;
        let missing =
            || Failure::usage(format!("{source}: its config is not known; it was looked for beside the kernel"));
        return Ok(of_config(kernel.config.as_ref().ok_or_else(missing)?));
    };
    let (config, asked) = ordered::config(order, dirs, &progress()).await?;
    let mut symbols = of_config(&config);
    for (name, asked) in asked.requests() {
        let symbol = Symbol { value: asked.value.clone(), from: Some(asked.by.clone()) };
        symbols.insert(name.to_owned(), symbol);
    }
    Ok(symbols)
}

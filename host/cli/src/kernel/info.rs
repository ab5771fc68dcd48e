//! `vmlab kernel info`.

use std::path::PathBuf;

use serde::Serialize;
use vmlab_kernel::catalogue::{Catalogue, SymbolGroup};
use vmlab_kernel::fetched::{Lookup, Package};
use vmlab_kernel::modules::{ModuleDir, Modules, describe};
use vmlab_kernel::{FetchPolicy, Kernel, KernelSource, debian, needs};
use vmlab_store::dirs::Dirs;

use crate::{Failure, output, progress};

/// What `kernel info` prints.
#[derive(Debug, Serialize)]
struct Info {
    label: String,
    release: String,
    version: Option<String>,
    path: PathBuf,
    sha256: String,
    config_sha256: Option<String>,
    packages: Vec<Package>,
    modules: Option<PathBuf>,
    /// `null` for a symbol that is not set; the field is absent if the configuration is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    symbols: Option<std::collections::BTreeMap<String, Option<String>>>,
}

/// Prints what is known of a kernel.
pub(super) async fn info(source: &KernelSource, dirs: &Dirs, policy: FetchPolicy, json: bool) -> Result<(), Failure> {
    let kernel = vmlab_kernel::obtain(source, dirs, policy.into(), &progress()).await?;
    output::notes(&kernel.notices);
    output::notes(&needs::check(&kernel).err().map(|why| why.to_string()).into_iter().collect::<Vec<_>>());
    let record = match source {
        KernelSource::Debian(debian) => match debian::cached(debian, dirs).map_err(Failure::lab)? {
            Lookup::Found(entry) => Some(entry.record),
            Lookup::Missing | Lookup::Damaged(_) => None,
        },
        KernelSource::Installed(_) | KernelSource::Path(_) | KernelSource::Order(_) => None,
    };
    let groups = Catalogue::embedded().map_err(Failure::lab)?.symbols;
    let value = |name: &String| kernel.config.as_ref().and_then(|config| config.get(name)).map(str::to_owned);
    let symbols = || groups.iter().flat_map(|group| &group.names).map(|name| (name.clone(), value(name))).collect();
    let info = Info {
        symbols: kernel.config.as_ref().map(|_| symbols()),
        version: record.as_ref().map(|record| record.version.clone()),
        packages: record.map(|record| record.packages).unwrap_or_default(),
        config_sha256: kernel.config.as_ref().map(|config| config.sha256.clone()),
        label: kernel.label.clone(),
        release: kernel.release.clone(),
        path: kernel.path.clone(),
        sha256: kernel.sha256.clone(),
        modules: kernel.modules.found().map(|found| found.path.clone()),
    };
    if json { output::print_json(&info) } else { output::print(&render(&info, &kernel, &groups)) }
}

fn modules(modules: &Modules, release: &str) -> String {
    match modules {
        Modules::Found(ModuleDir { path, made_list: None }) => path.display().to_string(),
        Modules::Found(ModuleDir { path, made_list: Some(_) }) => {
            format!("{} (without modules.dep; vmlab has made one in its cache)", path.display())
        }
        Modules::NotFound { looked_in } => {
            format!("none found: neither modules.dep nor any module is in {}", describe(looked_in, release))
        }
    }
}

fn render(info: &Info, kernel: &Kernel, groups: &[SymbolGroup]) -> String {
    let unknown = || "unknown".to_owned();
    let path = |path: &PathBuf| path.display().to_string();
    let mut rows = vec![
        ["kernel".to_owned(), info.label.clone()],
        ["release".to_owned(), info.release.clone()],
        ["path".to_owned(), path(&info.path)],
        ["sha256".to_owned(), info.sha256.clone()],
        ["config sha256".to_owned(), info.config_sha256.clone().unwrap_or_else(unknown)],
        ["modules".to_owned(), modules(&kernel.modules, &kernel.release)],
    ];
    rows.extend(info.version.iter().map(|version| ["version".to_owned(), version.clone()]));
    rows.extend(
        info.packages.iter().map(|package| ["package".to_owned(), format!("{} {}", package.name, package.version)]),
    );
    let mut text = output::columns(&rows);
    let Some(config) = &kernel.config else {
        text.push_str("\nNo configuration file was found beside this kernel, so its config symbols are unknown.\n");
        return text;
    };
    for group in groups {
        text.push_str(&format!("\n{}\n", group.area));
        let symbol = |name: &String| [format!("  {name}"), config.get(name).unwrap_or("unset").to_owned()];
        text.push_str(&output::columns(&group.names.iter().map(symbol).collect::<Vec<_>>()));
    }
    text
}

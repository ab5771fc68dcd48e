mod files;
mod reasons;

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use vmlab_protocol::catalogue::KernelVersion;

use super::*;
use crate::fragment::Fragment;

fn write(tree: &Path, file: &str, text: &str) {
    let path = tree.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn read(text: &str) -> Result<Kconfig, KconfigError> {
    let tree = TempDir::new().unwrap();
    write(tree.path(), "Kconfig", text);
    Kconfig::read(tree.path())
}

/// What is said for CONFIG_X=`asked` with this Kconfig file, and these lines in the `.config`.
fn why(kconfig: &str, asked: &str, config: &str) -> String {
    why_among(kconfig, asked, config, "")
}

/// [`why`] where these lines are asked for as well.
fn why_among(kconfig: &str, asked: &str, config: &str, requests: &str) -> String {
    let fragment = Fragment::parse("my.config", requests).unwrap();
    let merged = Merged::of(&[fragment], KernelVersion::new(6, 12, 0)).unwrap();
    read(kconfig).unwrap().why("CONFIG_X", asked, &KernelConfig::parse(config), &merged).to_string()
}

/// `A` to `D` are symbols with prompts, as is `MODULES`; `X` comes from the test.
fn why_with_abcd(x: &str, asked: &str, config: &str) -> String {
    let prompted: String = ["A", "B", "C", "D"].map(|name| format!("config {name}\n\ttristate \"{name}\"\n")).concat();
    let modules = "config MODULES\n\tbool \"modules\"\n\tmodules\n";
    why(&format!("{modules}{prompted}{x}"), asked, config)
}

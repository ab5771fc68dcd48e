//! No two top-level modules of a crate need each other, directly or through others.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::source::{code, paths, tokens, without_tests};
use crate::{files, manifest, workspace};

/// For each module the modules that its code names, each with an example.
type Graph = BTreeMap<String, BTreeMap<String, String>>;

/// The part of a graph that comes from the files below `src`.
fn graph(src: &Path) -> Graph {
    let is_source = |path: &Path| path.is_dir() || path.extension().is_some_and(|ending| ending == "rs");
    let sources: Vec<(Vec<String>, String)> = files(src, is_source)
        .into_iter()
        .map(|file| (module_path(file.strip_prefix(src).unwrap()), code(&fs::read_to_string(&file).unwrap())))
        .collect();
    let mut of_tests: Vec<Vec<String>> = Vec::new();
    let mut uses: Vec<(&[String], Vec<Vec<&str>>)> = Vec::new();
    for (module, code) in &sources {
        let all = tokens(code);
        let (kept, modules) = without_tests(&all);
        of_tests.extend(modules.iter().map(|name| [module.clone(), vec![(*name).to_owned()]].concat()));
        uses.push((module, paths(&kept)));
    }
    uses.retain(|(module, _)| !of_tests.iter().any(|excluded| module.starts_with(excluded)));
    let top: BTreeSet<&str> = uses.iter().filter_map(|(module, _)| module.first().map(String::as_str)).collect();
    let reexports = reexports(&uses, &top);
    let mut graph = Graph::new();
    for (module, paths) in &uses {
        let Some((from, _)) = module.split_first() else { continue };
        for path in paths {
            let Some(name) = below_root(path, module.len()) else { continue };
            let to = if top.contains(name) { Some(name) } else { reexports.get(name).copied() };
            if let Some(to) = to.filter(|to| to != from) {
                let example = || format!("{} uses {}", module.join("::"), path.join("::"));
                graph.entry(from.clone()).or_default().entry(to.to_owned()).or_insert_with(example);
            }
        }
    }
    graph
}

/// The names that the crate's root takes from its modules, by which other modules may use them.
fn reexports<'a>(uses: &[(&[String], Vec<Vec<&'a str>>)], top: &BTreeSet<&str>) -> BTreeMap<&'a str, &'a str> {
    let root = uses.iter().filter(|(module, _)| module.is_empty()).flat_map(|(_, paths)| paths);
    let names = root.filter_map(|path| {
        let path = if matches!(path[0], "self" | "crate") { &path[1..] } else { path };
        let (first, last) = (path.first()?, path.last()?);
        (path.len() > 1 && top.contains(first)).then_some((*last, *first))
    });
    names.collect()
}

/// The name directly below the crate's root that a path begins with, seen from a module at a depth.
fn below_root<'a>(path: &[&'a str], depth: usize) -> Option<&'a str> {
    if path[0] == "crate" {
        return path.get(1).copied();
    }
    let up = path.iter().take_while(|segment| **segment == "super").count();
    (up > 0 && up == depth).then(|| path.get(up).copied()).flatten()
}

/// `guest/link.rs` and `guest/link/mod.rs` are guest::link; lib.rs and main.rs are the root.
fn module_path(file: &Path) -> Vec<String> {
    let without_ending = file.with_extension("");
    let mut path: Vec<String> =
        without_ending.components().map(|part| part.as_os_str().to_str().unwrap().to_owned()).collect();
    if path.last().is_some_and(|last| last == "mod") || path == ["lib"] || path == ["main"] {
        path.pop();
    }
    path
}

/// The modules that reach each other, as sets of two or more.
fn cycles(graph: &Graph) -> BTreeSet<String> {
    let reach = |from: &String| {
        let (mut reached, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(next) = open.pop() {
            for to in graph.get(next).into_iter().flat_map(BTreeMap::keys) {
                if reached.insert(to) {
                    open.push(to);
                }
            }
        }
        reached
    };
    let reach: BTreeMap<_, _> = graph.keys().map(|from| (from, reach(from))).collect();
    let members = graph.keys().filter(|module| reach[module].contains(module));
    let cycle = |module: &String| -> Vec<&str> {
        let mutual = reach[module].iter().filter(|other| reach.get(**other).is_some_and(|back| back.contains(module)));
        mutual.map(|other| other.as_str()).collect()
    };
    members.map(|module| cycle(module).join(" ")).collect()
}

fn crates() -> Vec<(String, PathBuf)> {
    let root = manifest(workspace());
    let members = root["workspace"]["members"].as_array().unwrap().iter();
    let dirs = members.map(|member| workspace().join(member.as_str().unwrap()));
    dirs.map(|dir| (manifest(&dir)["package"]["name"].as_str().unwrap().to_owned(), dir.join("src"))).collect()
}

/// The examples of all edges of a cycle.
fn edges(graph: &Graph, cycle: &str) -> Vec<String> {
    let is_in = |module: &str| cycle.split(' ').any(|other| other == module);
    let within = graph.iter().filter(|(from, _)| is_in(from));
    within.flat_map(|(_, to)| to.iter().filter(|(to, _)| is_in(to)).map(|(_, example)| example.clone())).collect()
}

#[test]
fn no_modules_of_a_crate_depend_on_each_other() {
    let mut found = Vec::new();
    for (name, src) in crates() {
        let graph = graph(&src);
        let described = |cycle: String| format!("{name}: {cycle}:\n    {}", edges(&graph, &cycle).join("\n    "));
        found.extend(cycles(&graph).into_iter().map(described));
    }
    assert!(found.is_empty(), "cycles:\n{}", found.join("\n"));
}

#[test]
fn a_cycle_is_found_through_super_crate_and_the_root() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("lib.rs", "mod a; mod b; mod c; mod d; mod e; pub use c::Thing;");
    write("a.rs", "use super::b::{self, X};");
    write("b/mod.rs", "mod inner;");
    write("b/inner.rs", "fn f(_: crate::Thing) { super::inner::g() }");
    write("c.rs", "use crate::{a::Y, d};");
    // Tests may use everything, and a module may use its own parts.
    write("d.rs", "#[cfg(test)] mod tests { use crate::a; } use std::fs;");
    write("e/mod.rs", "use self::part::Z; #[cfg(test)] mod tests;");
    write("e/part.rs", "use super::Q; use crate::e::R; use crate::d::S;");
    write("e/tests.rs", "use crate::c; use super::super::a;");
    let graph = graph(dir.path());
    let found: Vec<_> =
        graph.iter().map(|(from, to)| (from.as_str(), to.keys().cloned().collect::<Vec<_>>().join(" "))).collect();
    let expected = [("a", "b"), ("b", "c"), ("c", "a d"), ("e", "d")].map(|(from, to)| (from, to.to_owned()));
    assert_eq!(found, expected);
    assert_eq!(cycles(&graph), BTreeSet::from(["a b c".to_owned()]));
    assert_eq!(edges(&graph, "a b c"), ["a uses super::b::self", "b::inner uses crate::Thing", "c uses crate::a::Y"]);
}

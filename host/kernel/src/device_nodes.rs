//! The device nodes of a kernel whose use loads a module.

use std::fs;
use std::path::Path;

use vmlab_protocol::command::DeviceNode;

/// The nodes that the `modules.devname` (depmod(8)) of a module directory names; none without that file.
#[must_use]
pub fn of(modules: &Path) -> Vec<DeviceNode> {
    let list = fs::read_to_string(modules.join("modules.devname")).unwrap_or_default();
    list.lines().filter_map(node).collect()
}

/// A line: `loop loop-control c10:237`.
fn node(line: &str) -> Option<DeviceNode> {
    let [module, name, device] = line.split_whitespace().collect::<Vec<_>>().try_into().ok()?;
    let is_beneath = !name.starts_with('/') && name.split('/').all(|part| !matches!(part, "" | "." | ".."));
    let (kind, numbers) = device.split_at_checked(1)?;
    let is_block = match kind {
        "c" => false,
        "b" => true,
        _ => return None,
    };
    let (major, minor) = numbers.split_once(':')?;
    let node = DeviceNode { name: name.to_owned(), is_block, major: major.parse().ok()?, minor: minor.parse().ok()? };
    (is_beneath && !module.starts_with('#')).then_some(node)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_of_modules_are_read() {
        let found =
            |name: &str, is_block, major, minor| Some(DeviceNode { name: name.to_owned(), is_block, major, minor });
        for (line, expected) in [
            ("loop loop-control c10:237", found("loop-control", false, 10, 237)),
            ("tun net/tun c10:200", found("net/tun", false, 10, 200)),
            ("nbd nbd0 b43:0", found("nbd0", true, 43, 0)),
            ("# Device nodes whose use loads a module.", None),
            ("# two c1:2", None),
            ("x ../etc/passwd c1:2", None),
            ("x /dev/x c1:2", None),
            ("x a//b c1:2", None),
            ("x y c1", None),
            ("x y p1:2", None),
            ("x y \u{e9}1:2", None),
            ("x y c1:2 z", None),
            ("", None),
        ] {
            assert_eq!(node(line), expected, "{line}");
        }
    }
}

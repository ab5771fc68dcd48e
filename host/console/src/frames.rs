//! Functions in call traces: reads them from lines, and normalises their names.

/// The function in a line of a call trace, by its name on all kernels. None for lines that the unwinder is not sure of
/// (`? name`) and for addresses in programs.
///
/// Forms: ` name+0x1c/0x20 [module]`, ` [<ffffffff81000000>] name+0x1c/0x20` (before Linux 4.10, and 32-bit kernels), and those
/// of [`instruction`].
pub(super) fn function(words: &str) -> Option<&str> {
    let mut words = instruction(words).unwrap_or(words).trim_start();
    // Addresses before the name.
    while let Some((address, after)) = words.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        if !address.trim_matches(['<', '>']).bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        words = after.trim_start();
    }
    let (name, offset) = words.split_once("+0x")?;
    let letters = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '$');
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(letters);
    let has_size = offset.split_once("/0x").is_some_and(|(at, _)| at.bytes().all(|b| b.is_ascii_hexdigit()));
    (is_name && has_size).then(|| plain(name))
}

/// The function in a line of a call trace that the unwinder is not sure of: ` ? name+0x1c/0x20`.
pub(super) fn guess(words: &str) -> Option<&str> {
    function(words.trim_start().strip_prefix("? ")?)
}

/// The text after the introduction of an instruction pointer: `RIP: 0010:` (x86-64), `EIP: ` and `EIP: 0060:` (x86), `pc : `
/// (arm64), `PC is at ` (arm), `epc : ` (riscv), `NIP ` (powerpc).
pub(super) fn instruction(words: &str) -> Option<&str> {
    for x86 in ["RIP: ", "EIP: "] {
        if let Some(rest) = words.strip_prefix(x86) {
            let segment =
                rest.len() > 5 && rest.as_bytes()[4] == b':' && rest[..4].bytes().all(|b| b.is_ascii_hexdigit());
            return Some(if segment { &rest[5..] } else { rest });
        }
    }
    ["pc : ", "PC is at ", "epc : ", "NIP "].iter().find_map(|intro| words.trim_start().strip_prefix(intro))
}

/// A function's name without prefixes and suffixes of macros and compilers: `__x64_sys_kill`, `__do_sys_kill` and
/// `__se_sys_kill` become `sys_kill`; `f.constprop.0`, `f.cold`, `f.isra.0.cold` and
/// `f_noprof` (memory allocation profiling, Linux 6.10) become `f`.
pub(super) fn plain(name: &str) -> &str {
    let name = name.split_once('.').map_or(name, |(stem, _)| if stem.is_empty() { name } else { stem });
    let name = name.strip_prefix("__pfx_").unwrap_or(name);
    let name = name.strip_suffix("_noprof").unwrap_or(name);
    ["__x64_", "__ia32_", "__arm64_", "__riscv_", "__do_", "__se_"]
        .iter()
        .find_map(|prefix| {
            name.strip_prefix(prefix).filter(|rest| rest.starts_with("sys_") || rest.starts_with("compat_sys_"))
        })
        .unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_read_from_all_forms() {
        for (line, name) in [
            (" sysrq_handle_crash+0x16/0x20", Some("sysrq_handle_crash")),
            ("RIP: 0010:boom.constprop.0+0x0/0x10 [faulty]", Some("boom")),
            (" [<ffffffff8100abcd>] __handle_sysrq.cold+0x43/0x11a", Some("__handle_sysrq")),
            (" __x64_sys_kill+0x10/0x20 kernel/signal.c:10", Some("sys_kill")),
            ("RIP: 0010:[<ffffffff8100abcd>]  [<ffffffff8100abcd>] old_form+0x43/0x11a", Some("old_form")),
            ("EIP: short_form+0x3/0x11", Some("short_form")),
            ("pc : arm_form+0x28/0x60 [faulty]", Some("arm_form")),
            ("PC is at arm32_form+0x28/0x60", Some("arm32_form")),
            ("NIP [c00000000000abcd] power_form+0x28/0x60", Some("power_form")),
            (" ? printk+0x58/0x73", None),
            ("RIP: 0033:0x47b7a0", None),
            (" <TASK>", None),
            ("exitcode=0x0000000b", None),
            ("a b+0x1/0x2", None),
        ] {
            assert_eq!(function(line), name, "{line}");
        }
    }

    #[test]
    fn names_are_the_same_on_all_kernels() {
        for (name, same) in [
            ("__pfx_do_thing", "do_thing"),
            ("f.isra.0.cold", "f"),
            ("f.llvm.1234", "f"),
            ("__kmalloc_noprof", "__kmalloc"),
            ("__se_sys_mount", "sys_mount"),
            ("__do_sys_mount", "sys_mount"),
            ("__do_softirq", "__do_softirq"),
        ] {
            assert_eq!(plain(name), same);
        }
    }
}

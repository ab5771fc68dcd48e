//! The evidence on a lost guest, beyond the verdict, as text. Pure.

use vmlab_events::clean;
use vmlab_events::loss::{LossReport, Vmcore};

/// Where a guest's memory is, and how to open it.
#[must_use]
pub fn vmcore(vmcore: &Vmcore) -> String {
    let path = clean::line(&vmcore.path);
    let mib = vmcore.bytes >> 20;
    if vmcore.vmcoreinfo == Some(false) {
        return format!(
            "the guest's memory is in {path} ({mib} MiB), without VMCOREINFO: the guest ended before its kernel had given QEMU \
             its address (the module qemu_fw_cfg does); drgn cannot open it, and `crash VMLINUX {path}`, where VMLINUX is \
             this kernel's with its debug information, has to compute the kernel's address from the registers"
        );
    }
    format!(
        "the guest's memory is in {path} ({mib} MiB); open it with `drgn -c {path} -s VMLINUX` or `crash VMLINUX {path}`, where \
         VMLINUX is this kernel's with its debug information"
    )
}

/// All of it as text: the console's last lines, the registers, the memory.
#[must_use]
pub fn block(loss: &LossReport) -> String {
    let mut out = String::new();
    let mut section = |title: &str, lines: &mut dyn Iterator<Item = String>| {
        let mut lines = lines.peekable();
        if lines.peek().is_some() {
            out.push_str(&format!("--- {title} ---\n"));
            lines.for_each(|line| out.push_str(&format!("{line}\n")));
        }
    };
    section("the end of the guest's console", &mut loss.console.iter().flat_map(|line| clean::lines(line)));
    section("the processors' registers", &mut loss.registers.iter().flat_map(|text| clean::lines(text.trim())));
    section("memory", &mut loss.vmcore.iter().map(vmcore));
    out
}

#[cfg(test)]
mod tests {
    use vmlab_events::event::LabEvent;
    use vmlab_events::fixture;

    use super::*;

    #[test]
    fn drgn_is_named_only_for_memory_that_it_can_open() {
        let with = |vmcoreinfo| vmcore(&Vmcore { path: "/core".to_owned(), bytes: 1 << 20, vmcoreinfo });
        assert!(with(None).contains("drgn -c /core") && with(Some(true)).contains("drgn -c /core"));
        let without = with(Some(false));
        assert!(!without.contains("drgn -c") && without.contains("without VMCOREINFO"), "{without}");
    }

    #[test]
    fn all_of_it_is_clean() {
        let events = fixture::run();
        let loss = events.iter().find_map(|stamped| match &stamped.event {
            LabEvent::GuestLost(loss) => Some(loss),
            _ => None,
        });
        let text = block(loss.unwrap());
        assert!(!text.chars().any(|c| c != '\n' && clean::is_hostile(c)), "{text:?}");
        for part in ["<script>", "RIP=ffffffffa34808b8", "vmcore-20261122-110203-4f2a-3", "drgn -c", "256 MiB"] {
            assert!(text.contains(part), "{part} is missing: {text}");
        }
    }
}

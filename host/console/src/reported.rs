//! Consoles that others reported, reduced to what matters, and further ones of their kinds.

use super::*;

/// Reads lines that a kernel printed at one moment.
fn read(lines: &str) -> ConsoleReader {
    let mut reader = ConsoleReader::default();
    for line in lines.lines() {
        reader.push(format!("[   12.000001][  T100] {line}\r\n").as_bytes());
    }
    reader.end();
    reader
}

fn raw(console: &str) -> ConsoleReader {
    let mut reader = ConsoleReader::default();
    reader.push(console.as_bytes());
    reader.end();
    reader
}

fn findings(mut reader: ConsoleReader) -> Vec<Finding> {
    let crash = reader.crash().cloned();
    crash.into_iter().chain(reader.take_warnings()).collect()
}

fn only(lines: &str) -> Finding {
    let mut found = findings(read(lines));
    assert_eq!(found.len(), 1, "{found:#?}");
    found.remove(0)
}

/// A report of a trap whose call trace has these functions.
fn trap(title: &str, functions: &[&str]) -> String {
    let trace: String = functions.iter().map(|name| format!(" {name}+0x10/0x20\n")).collect();
    format!(
        "------------[ cut here ]------------\n{title}\nCPU: 0 UID: 0 PID: 100 Comm: prog Not tainted 6.14.0 #1 PREEMPT(full)\n\
         RIP: 0010:{}+0x15d/0x160\nCall Trace:\n <TASK>\n{trace} </TASK>\n---[ end trace 0000000000000000 ]---",
        functions[0]
    )
}

#[test]
fn a_helper_is_not_the_place_of_a_fault() {
    for (title, helpers) in [
        ("kernel BUG at net/core/skbuff.c:109!", &["skb_panic", "skb_put"][..]),
        ("kernel BUG at net/core/skbuff.c:114!", &["skb_under_panic", "skb_push"]),
        ("kernel BUG at mm/usercopy.c:102!", &["usercopy_abort", "__check_heap_object", "__check_object_size"]),
        (
            "WARNING: CPU: 0 PID: 100 at mm/page_alloc.c:4728 __alloc_frozen_pages_noprof+0x3c5/0x710",
            &["__alloc_frozen_pages_noprof", "___kmalloc_large_node", "__kmalloc_noprof"],
        ),
        (
            "WARNING: CPU: 0 PID: 100 at lib/refcount.c:28 refcount_warn_saturate+0xba/0x110",
            &["refcount_warn_saturate"],
        ),
        (
            "WARNING: CPU: 0 PID: 100 at lib/debugobjects.c:514 debug_print_object+0x16e/0x250",
            &["debug_print_object", "debug_check_no_obj_freed", "kfree"],
        ),
        ("list_del corruption, ffff8880->next is LIST_POISON1", &["__list_del_entry_valid_or_report"]),
        (
            "general protection fault, probably for non-canonical address 0xdffffc0000000000: 0000 [#1] SMP",
            &["memcpy_orig"],
        ),
        ("BUG: unable to handle page fault for address: ffffc90000000000", &["_copy_from_user"]),
        ("kernel BUG at lib/string_helpers.c:1040!", &["__fortify_panic"]),
    ] {
        let report = |place: &'static str| only(&trap(title, &[helpers, &[place, "common_caller"]].concat()));
        let (one, two) = (report("driver_one_ioctl"), report("driver_two_ioctl"));
        assert_eq!(one.frames.first().map(String::as_str), Some("driver_one_ioctl"), "{title}");
        assert!(one.fingerprint.contains(":driver_one_ioctl-"), "{}", one.fingerprint);
        assert_ne!(one.fingerprint, two.fingerprint, "{title}");
    }
}

#[test]
fn the_same_bug_has_the_same_name_on_all_kernels() {
    let sleeps = |helpers: &[&str]| {
        let trace: String = helpers.iter().map(|name| format!(" {name}+0x10/0x20\n")).collect();
        only(&format!(
            "BUG: sleeping function called from invalid context at kernel/locking/mutex.c:935\n\
             in_atomic(): 1, irqs_disabled(): 0, non_block: 0, pid: 100, name: prog\nCall Trace:\n{trace} real_place+0x10/0x20\n x+0x1/0x2"
        ))
    };
    let old = sleeps(&["dump_stack", "___might_sleep.cold", "__mutex_lock"]);
    let new = sleeps(&["dump_stack_lvl", "__might_resched", "__might_sleep", "mutex_lock_nested"]);
    assert!(old.fingerprint.starts_with("sleep-in-atomic:real_place-"), "{}", old.fingerprint);
    assert_eq!(old.fingerprint, new.fingerprint);
    for (one, two) in [
        ("BUG: KASAN: use-after-free in f+0x1/0x2", "BUG: KASAN: slab-use-after-free in f+0x3/0x4"),
        ("BUG: KASAN: double-free or invalid-free in f+0x1/0x2", "BUG: KASAN: double-free in f+0x3/0x4"),
        ("int3: 0000 [#1] SMP", "Oops: int3: 0000 [#1] SMP"),
        (
            "BUG: unable to handle kernel paging request at ffff888000000000",
            "BUG: unable to handle page fault for address: ffff",
        ),
        ("WARNING: CPU: 0 PID: 1 at fs/a.c:3 f+0x1/0x2", "WARNING: fs/a.c:9 at f+0x1/0x2, CPU#1: sh/61"),
    ] {
        assert_eq!(only(one).fingerprint, only(two).fingerprint, "{one} | {two}");
    }
}

#[test]
fn traps_before_6_10_have_task_place_and_registers() {
    for title in
        ["int3: 0000", "alignment check: 0000", "control protection: 0003", "coprocessor segment overrun: 0000"]
    {
        let report = trap(&format!("{title} [#1] PREEMPT SMP NOPTI"), &["faulty_place", "faulty_caller"]);
        let panic =
            "\nKernel panic - not syncing: Fatal exception\n---[ end Kernel panic - not syncing: Fatal exception ]---";
        let mut reader = read(&format!("{report}{panic}"));
        let crash = reader.crash().unwrap().clone();
        assert_eq!((crash.kind, crash.severity), (Kind::Oops, Severity::Fatal), "{title}");
        assert_eq!(crash.frames, ["faulty_place", "faulty_caller"]);
        assert_eq!(crash.task.unwrap().comm, "prog");
        assert!(reader.take_warnings().is_empty());
    }
}

#[test]
fn kcsan_reports_are_warnings_by_the_functions_that_race() {
    let assertion = only(
        "==================================================================\nBUG: KCSAN: assert: race in place_a+0x6df/0x760\n\n\
         race at unknown origin, with assert no writes to 0xffff888100aabbcc of 4 bytes by task 4926 on cpu 0:\n\
         \x20place_a+0x6df/0x760\n\x20place_b+0x7d/0x410\n==================================================================",
    );
    assert_eq!((assertion.kind, assertion.severity), (Kind::Kcsan, Severity::Warned));
    let race = |first: &str| {
        only(&format!(
            "BUG: KCSAN: data-race in f / g\n\nwrite to 0xffff of 4 bytes by task 1 on cpu 0:\n {first}+0x1/0x2"
        ))
    };
    assert_eq!(race("f").fingerprint, race("g").fingerprint);
}

#[test]
fn a_report_of_many_lines_keeps_what_names_it() {
    let report = |place: &str| {
        let chain: String =
            (0..150).map(|n| format!("  -> (&lock{n}){{-.-.}}-{{2:2}} {{\n      taker_{n}+0x7b/0xb0\n")).collect();
        only(&format!(
            "=====================================================\nWARNING: HARDIRQ-safe -> HARDIRQ-unsafe lock order detected\n\
             6.12.0 #1 Not tainted\n{chain}stack backtrace:\nCPU: 0 UID: 0 PID: 100 Comm: prog Not tainted 6.12.0 #1\n\
             Call Trace:\n <TASK>\n dump_stack_lvl+0x116/0x1f0\n check_irq_usage+0x8a/0x9b\n lock_acquire+0x1/0x2\n {place}+0x1/0x2\n </TASK>"
        ))
    };
    let (one, two) = (report("place_one"), report("place_two"));
    assert_eq!((one.kind, one.frames.as_slice()), (Kind::Lockdep, &["place_one".to_owned()][..]));
    assert_ne!(one.fingerprint, two.fingerprint);
    assert_eq!(one.task.unwrap().comm, "prog");
    assert_eq!(one.trace.len(), 200);
    assert!(one.trace[0].contains("WARNING: HARDIRQ-safe") && one.trace[199].contains("</TASK>"), "{:#?}", one.trace);
    assert_eq!(one.trace[119], "[112 lines left out]");
}

#[test]
fn a_record_that_is_printed_again_counts_once() {
    const WHOLE: &str = "BUG: KASAN: slab-use-after-free in first_place+0x10/0x20";
    const REST: &str = "[   12.000002][  T100] Read of size 8 at addr ffff888100000000 by task prog/100\n\
        [   12.000003][  T100] Call Trace:\n[   12.000003][  T100]  dump_stack_lvl+0x10/0x20\n\
        [   12.000004][  T100]  first_place+0x10/0x20\n[   12.000009][  T100] ==================================================================\n";
    let whole = findings(raw(&format!("[   12.000001][  T100] {WHOLE}\n{REST}")));
    assert_eq!(whole.len(), 1);
    for cut in 0..=WHOLE.len() {
        for end in ["\n", ""] {
            let console = format!(
                "[   12.000001][  T100] {}{end}** replaying previous printk message **\n[   12.000001][  T100] {WHOLE}\n{REST}",
                &WHOLE[..cut]
            );
            let found = findings(raw(&console));
            assert_eq!(found.len(), 1, "{console}: {found:#?}");
            assert_eq!((&found[0].fingerprint, &found[0].task), (&whole[0].fingerprint, &whole[0].task), "{console}");
        }
    }
    // A line within a report.
    let replay = "[   12.000004][  T100]  first_pl** replaying previous printk message **\n[   12.000004][  T100]  first_place+0x10/0x20\n";
    let console = format!(
        "[   12.000001][  T100] {WHOLE}\n{}",
        REST.replace("[   12.000004][  T100]  first_place+0x10/0x20\n", replay)
    );
    assert_eq!(findings(raw(&console))[0].fingerprint, whole[0].fingerprint);
}

#[test]
fn a_panic_is_charged_to_the_report_that_caused_it() {
    let console = "[    2.0][   T7] BUG: KASAN: use-after-free in first+0x1/0x2\n\
                   [    2.0][   T8] BUG: kernel NULL pointer dereference, address: 0000000000000000\n\
                   [    2.1][   T7] Call Trace:\n\
                   [    2.1][   T8] RIP: 0010:second+0x1/0x2\n\
                   [    2.1][   T7]  first+0x1/0x2\n\
                   [    2.2][   T8] ---[ end trace 0000000000000000 ]---\n\
                   [    2.2][   T8] Kernel panic - not syncing: Fatal exception\n";
    let mut reader = raw(console);
    let crash = reader.crash().unwrap();
    assert_eq!((crash.kind, crash.severity, crash.frames[0].as_str()), (Kind::Oops, Severity::Fatal, "second"));
    assert_eq!(reader.take_warnings().iter().map(|other| other.kind).collect::<Vec<_>>(), [Kind::Kasan]);
    // Which of two warnings by two tasks made the kernel panic.
    for (task, place) in [(7, "one"), (8, "two")] {
        let reader = raw(&format!(
            "[    2.0][   T7] WARNING: CPU: 0 PID: 7 at a.c:1 one+0x1/0x2\n[    2.0][   T8] WARNING: CPU: 1 PID: 8 at b.c:1 two+0x1/0x2\n\
             [    2.1][   T{task}] Kernel panic - not syncing: kernel: panic_on_warn set ...\n"
        ));
        assert_eq!(reader.crash().unwrap().frames, [place]);
    }
    // A hung task by khungtaskd does not take over what another report did.
    let reader = raw(
        "[    2.0] BUG: kernel NULL pointer dereference, address: 0\n[    2.1] RIP: 0010:f+0x1/0x2\n[    2.2] ---[ end trace 0 ]---\n\
         [    9.0] INFO: task faulty:62 blocked for more than 5 seconds.\n[    9.1] Kernel panic - not syncing: hung_task: blocked tasks\n",
    );
    assert_eq!(reader.crash().unwrap().kind, Kind::HungTask);
}

#[test]
fn failures_to_allocate_are_warnings_of_the_caller_and_not_of_the_allocator() {
    let trace = "Call Trace:\n <TASK>\n dump_stack_lvl+0x44/0x5c\n warn_alloc+0x138/0x160\n \
                 __alloc_pages_slowpath.constprop.0+0xbd0/0xc50\n __alloc_pages+0x1e0/0x220\n kmalloc_large_node+0x79/0x80\n \
                 __kmalloc+0xa2/0x130\n drv_ring_setup+0x10/0x20 [drv]\n </TASK>\n";
    for (first, comm) in [
        (
            "modprobe: page allocation failure: order:5, mode:0x40dc0(GFP_KERNEL|__GFP_COMP), nodemask=(null)",
            "modprobe",
        ),
        ("kworker/u8:2: page allocation failure: order:0, mode:0x820(GFP_ATOMIC), nodemask=(null)", "kworker/u8:2"),
        ("BUG: x: page allocation failure: order:2, mode:0x40dc0(GFP_KERNEL)", "BUG: x"),
    ] {
        let found = only(&format!("{first}\nCPU: 0 PID: 61 Comm: {comm} Not tainted 6.1.0\n{trace}Mem-Info:\n"));
        assert_eq!((found.kind, found.title.as_str()), (Kind::Warning, first));
        assert_eq!(found.task.unwrap().comm, comm);
        assert!(found.fingerprint.starts_with("warning:drv_ring_setup-"), "{}", found.fingerprint);
    }
}

#[test]
fn reports_of_ext4_and_ftrace_are_found() {
    for line in [
        "EXT4-fs error (device vda): ext4_lookup:1855: inode #2: comm ls: iget: checksum invalid",
        "EXT4-fs error (device dm-0): ext4_mb_generate_buddy:1217: group 1, block bitmap and bg descriptor inconsistent",
        "EXT4-fs error (device sda1): __ext4_find_entry:1678: inode #131074: comm a b: reading directory lblock 0",
        "EXT4-fs error (device vda) in ext4_reserve_inode_write:5764: Journal has aborted",
    ] {
        assert_eq!(only(line).kind, Kind::Inconsistency, "{line}");
    }
    let found =
        only("------------[ ftrace bug ]------------\nftrace faulted on modifying\n[<ffffffff8100abcd>] f+0x1/0x2");
    assert_eq!(found.kind, Kind::Warning);
    for line in ["EXT4-fs (vda): mounted filesystem with ordered data mode", "EXT4-fs error", "------------[ x ]---"] {
        assert_eq!(findings(read(line)), [], "{line}");
    }
}

/// The kinds of the reports in a log.
fn kinds_in(log: &str) -> Vec<Kind> {
    findings(raw(log)).iter().map(|finding| finding.kind).collect()
}

#[test]
fn a_programs_warning_in_a_log_without_time_stamps_is_no_report() {
    let banner = "Linux version 6.12.0 (x@y) #1\n";
    let quiet = "usb 1-1: new device\n";
    for line in ["WARNING: the test is slow", "WARNING: terminal is not fully functional", "WARNING: CPU: hot"] {
        assert_eq!(kinds_in(&format!("{quiet}{line}\n{quiet}")), [], "{line}");
        assert_eq!(kinds_in(&format!("{banner}{line}\nCPU: Intel\n{quiet}")), [], "{line}");
        // However often it comes.
        assert_eq!(kinds_in(&format!("{line}\n").repeat(300)), [], "{line}");
        // What only the kernel prints around its reports.
        for after in ["CPU: 0 PID: 61 Comm: sh Not tainted 6.12.0", "Modules linked in: a", "Call Trace:\n f+0x1/0x2"] {
            assert_eq!(kinds_in(&format!("{quiet}{line}\n{after}\n")), [Kind::Warning], "{line}: {after}");
        }
        let cut = "------------[ cut here ]------------\n";
        assert_eq!(kinds_in(&format!("{cut}{line}\n{quiet}")), [Kind::Warning], "{line}");
        // What a kernel's line has before its text.
        for before in ["[    1.0] ", "<4>", "Nov 28 01:02:03 host kernel: ", "4,1234,12345678,-;"] {
            assert_eq!(kinds_in(&format!("{before}{line}\n")), [Kind::Warning], "{line}: {before}");
        }
    }
    // Different ones, more than are kept.
    let many: String =
        (0..reports::KEPT + 40).map(|n| format!("WARNING: file {}{n} is odd\n", "x".repeat(n))).collect();
    assert_eq!(kinds_in(&many), []);
    assert_eq!(kinds_in(&format!("{many}BUG: Bad thing\n")), [Kind::Bug]);
    // Messages that the kernel is known to print without more.
    for line in ["WARNING: can't access registers at f+0x1/0x2", "WARNING: WARNING: bad lookup idx: idx=1 num=0 ip=f"] {
        assert_eq!(kinds_in(&format!("{banner}{line}\n{quiet}")), [Kind::Warning], "{line}");
    }
}

#[test]
fn what_programs_and_firmware_print_is_no_report() {
    // After the kernel's banner with a time stamp, its lines have time stamps.
    let banner = "[    0.000000] Linux version 6.12.0 (x@y) #1\n";
    for line in ["WARNING: running as root is deprecated", "BUG: test failed", "WARNING: something"] {
        assert_eq!(findings(raw(&format!("{banner}{line}\n"))), [], "{line}");
        assert_eq!(findings(raw(&format!("{line}\n"))).len(), usize::from(line.starts_with("BUG")), "{line}");
    }
    // Without the banner, most lines tell.
    let stamped: String = (1..9).map(|n| format!("[    {n}.000000] usb 1-1: new device\n")).collect();
    assert_eq!(findings(raw(&format!("{stamped}WARNING: the test is slow\n{stamped}"))), []);
    assert_eq!(findings(raw(&format!("{stamped}[    9.5] WARNING: odd\n{stamped}"))).len(), 1);
    let firmware = "WARNING: RO_VPD is uninitialized or empty.\nWARNING: RW_VPD is uninitialized or empty.\n";
    assert_eq!(findings(raw(&format!("{firmware}{banner}"))), []);
    // A kernel without time stamps.
    let plain = "Linux version 6.12.0 (x@y) #1\nWARNING: stack recursion on stack type 4\n";
    assert_eq!(findings(raw(plain)).len(), 1);
    // A crash before a reboot is no firmware line.
    let reboot = format!(
        "BUG: kernel NULL pointer dereference, address: 0\nRIP: 0010:f+0x1/0x2\n---[ end trace 0 ]---\n{banner}"
    );
    assert_eq!(findings(raw(&reboot)).len(), 1);
}

#[test]
fn a_later_panic_for_another_reason_is_a_report_of_its_own() {
    let report =
        "BUG: KASAN: use-after-free in f+0x1/0x2\n==================================================================\n";
    let later = "usb 1-1: new device\nKernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b";
    let kinds: Vec<_> = findings(read(&format!("{report}{later}"))).iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, [Kind::Kasan, Kind::InitDied]);
    // A trap in PID 1 is the cause of its end.
    let trap = trap("general protection fault: 0000 [#1] SMP", &["f"]);
    assert_eq!(findings(read(&format!("{trap}\n{later}"))).len(), 1);
}

#[test]
fn the_message_of_a_warning_is_part_of_it() {
    for message in [
        "BUG: Dentry 00000000abcdef12{i=14,n=foo}  still in use (1) [unmount of ext4 sda1]",
        "kmem_cache_destroy foo: Slab cache still has objects",
    ] {
        let warning = trap("WARNING: CPU: 0 PID: 100 at fs/dcache.c:1 umount_check+0x1/0x2", &["umount_check"]);
        let finding = only(&warning.replacen("WARNING", &format!("{message}\nWARNING"), 1));
        assert_eq!((finding.kind, finding.frames[0].as_str()), (Kind::Warning, "umount_check"));
        assert!(finding.trace.iter().any(|line| line.contains(message)), "{finding:#?}");
        // Without a title behind it, it counts itself.
        assert_eq!(
            findings(read(&format!("------------[ cut here ]------------\n{message}\nusb 1-1: new device"))).len(),
            1
        );
    }
}

#[test]
fn symbolised_titles_and_leaks_have_their_places() {
    let kasan = only(
        "BUG: KASAN: null-ptr-deref in instrument_atomic_read_write include/linux/instrumented.h:96 [inline]\n\
         BUG: KASAN: null-ptr-deref in atomic_fetch_sub_release include/linux/atomic.h:1 [inline]\n\
         BUG: KASAN: null-ptr-deref in put_foo+0x10/0x40 mm/x.c:1\nRead of size 8 at addr 0000000000000000 by task prog/100",
    );
    assert_eq!((kasan.frames.as_slice(), kasan.task.unwrap().pid), (&["put_foo".to_owned()][..], 100));
    let leak = |place: &str| {
        only(&format!(
            "BUG: memory leak\nunreferenced object 0xffff88810a8ed000 (size 2048):\n  comm \"prog\", pid 100, jiffies 4294943\n\
         \x20 backtrace (crc 12345678):\n    kmemleak_alloc+0x1/0x2\n    __kmalloc_noprof+0x1/0x2\n    {place}+0x1/0x2"
        ))
    };
    assert_eq!(leak("one").frames, ["one"]);
    assert_eq!(leak("one").task.unwrap().comm, "prog");
    assert_ne!(leak("one").fingerprint, leak("two").fingerprint);
}

#[test]
fn traces_of_other_machines_name_the_place() {
    for at in [
        "pc : f+0x28/0x60 [faulty]\nlr : g+0x10/0x20\nsp : ffff80000a\nx29: ffff x28: 0",
        "PC is at f+0x28/0x60",
        "NIP [c000000000001234] f+0x28/0x60",
        "epc : f+0x28/0x60 ra : g+0x10/0x20",
    ] {
        let crash = only(&format!(
            "Unable to handle kernel NULL pointer dereference at virtual address 0000000000000000\nInternal error: Oops: 96000004 [#1] SMP\n\
             CPU: 0 PID: 100 Comm: prog Not tainted 6.1.0 #1\n{at}\nCall trace:\n f+0x28/0x60 [faulty]\n g+0x10/0x20\n el0_svc+0x1/0x2\n---[ end trace 0 ]---"
        ));
        assert_eq!((crash.kind, crash.frames[0].as_str()), (Kind::Oops, "f"), "{at}");
        assert_eq!(crash.task.unwrap().comm, "prog");
    }
}

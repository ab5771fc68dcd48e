use proptest::prelude::*;

use super::reports::{ALIKE, KEPT};
use super::*;

const PANIC: &str = "[    1.214] Run /init as init process\r\n\
    [    1.300000] Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b\r\n\
    [    1.300001] CPU: 0 PID: 1 Comm: init Not tainted 6.1.0 #1\r\n";

fn read(console: &[u8]) -> ConsoleReader {
    let mut reader = ConsoleReader::default();
    reader.push(console);
    reader.end();
    reader
}

#[test]
fn a_panic_is_found_however_the_bytes_are_split() {
    for size in 1..PANIC.len() {
        let mut reader = ConsoleReader::default();
        PANIC.as_bytes().chunks(size).for_each(|chunk| reader.push(chunk));
        reader.end();
        let crash = reader.crash().unwrap();
        assert_eq!(crash.title, "Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b");
        assert_eq!(crash.trace.len(), 2);
        assert_eq!(crash.task, Some(Task { comm: "init".to_owned(), pid: 1 }));
        assert!(reader.has_panicked());
    }
}

#[test]
fn a_mention_of_a_panic_is_no_panic() {
    let reader =
        &mut read(b"[    0.1] Command line: oops=panic panic=-1\n[    0.2] the WARNING: is not at the start\n");
    assert_eq!(reader.crash(), None);
    assert!(reader.take_warnings().is_empty());
}

#[test]
fn the_first_fault_names_the_crash_and_the_panic_is_in_its_trace() {
    let reader = read(
        b"[    2.0][    T7] BUG: kernel NULL pointer dereference, address: 0000000000000000\n\
          [    2.1][    T7] Kernel panic - not syncing: Fatal exception\n",
    );
    let crash = reader.crash().unwrap();
    assert!(crash.title.starts_with("BUG: kernel NULL pointer"));
    assert_eq!((crash.kind, crash.severity, crash.trace.len()), (Kind::Oops, Severity::Fatal, 2));
    assert!(reader.has_panicked());
}

#[test]
fn an_oops_is_no_panic() {
    let reader = read(b"[    2.0] BUG: kernel NULL pointer dereference, address: 0000000000000000\n");
    assert_eq!(reader.crash().unwrap().severity, Severity::Broken);
    assert!(!reader.has_panicked());
}

#[test]
fn a_panic_of_a_watchdog_is_named_by_the_fault() {
    let reader = &mut read(
        b"[    9.0] INFO: task faulty:62 blocked for more than 5 seconds.\n\
          [    9.1] Kernel panic - not syncing: hung_task: blocked tasks\n",
    );
    let crash = reader.crash().unwrap();
    assert_eq!((crash.kind, crash.severity), (Kind::HungTask, Severity::Fatal));
    assert!(reader.has_panicked());
    assert!(reader.take_warnings().is_empty());
    // A panic with another reason is not the consequence of an earlier fault.
    let reader = &mut read(
        b"[    9.0] INFO: task faulty:62 blocked for more than 5 seconds.\n\
          [    9.1] Kernel panic - not syncing: sysrq triggered crash\n",
    );
    assert_eq!(reader.crash().unwrap().kind, Kind::Panic);
    assert_eq!(reader.take_warnings().len(), 1);
}

#[test]
fn findings_are_returned_once() {
    let reader = &mut read(b"[    3.0] WARNING: CPU: 0 PID: 9 at kernel/foo.c:12 foo+0x1/0x2\n");
    let findings = reader.take_warnings();
    assert_eq!(findings.len(), 1);
    assert_eq!((findings[0].kind, findings[0].severity), (Kind::Warning, Severity::Warned));
    assert!(findings[0].fingerprint.starts_with("warning:foo-"), "{}", findings[0].fingerprint);
    assert!(reader.take_warnings().is_empty());
}

#[test]
fn endless_lines_and_foreign_bytes_are_bounded() {
    let mut reader = ConsoleReader::default();
    for _ in 0..100 {
        reader.push(&[0xff; 1024]);
    }
    reader.push(b"\nvmlab-init: no port\n");
    assert_eq!(reader.said_by_init(), ["no port"]);
    assert!(reader.last_lines().next().unwrap().chars().count() <= LINE_LIMIT);
    assert!(reader.partial.capacity() <= 2 * LINE_LIMIT);
}

#[test]
fn a_kernel_message_is_found_after_program_output_without_a_newline() {
    for program in
        ["login: ", "\x1b[1;32mlogin:\x1b[0m \0", &"x".repeat(3 * LINE_LIMIT), "\x1b]0;title", "\u{fffd}\x1b["]
    {
        let console = format!("{program}[    2.0] BUG: KASAN: use-after-free in f+0x1/0x2\n");
        assert_eq!(read(console.as_bytes()).crash().map(|crash| crash.kind), Some(Kind::Kasan), "{program}");
    }
    // Without a time stamp nothing marks the beginning of a kernel message.
    assert_eq!(read(b"login: BUG: KASAN: use-after-free in f+0x1/0x2\n").crash(), None);
}

#[test]
fn a_title_is_found_wherever_it_is_in_an_endless_line() {
    for before in (0..2 * LINE_LIMIT).step_by(7) {
        let console = format!("{}[    2.0] Kernel panic - not syncing: x\n", "y".repeat(before));
        let mut reader = read(console.as_bytes());
        assert_eq!(reader.crash().map(|crash| crash.kind), Some(Kind::Panic), "{before}");
        assert!(reader.take_warnings().is_empty(), "{before}: found twice");
    }
}

#[test]
fn reports_of_two_cpus_that_print_at_once_are_separated() {
    let reader = &mut read(
        b"[    2.0][    T7] WARNING: CPU: 0 PID: 7 at a.c:1 first+0x1/0x2\n\
          [    2.0][    C1] WARNING: CPU: 1 PID: 8 at b.c:1 second+0x1/0x2\n\
          [    2.1][    T7] CPU: 0 PID: 7 Comm: one Not tainted 6.1.0 #1\n\
          [    2.1][    C1] CPU: 1 PID: 8 Comm: two Tainted: G 6.1.0 #1\n\
          [    2.2][    T7] Call Trace:\n\
          [    2.2][    C1] Call Trace:\n\
          [    2.2][    T7]  first_caller+0x1/0x2\n\
          [    2.2][    C1]  second_caller+0x1/0x2\n\
          a program's words\n\
          [    2.3][    T7] ---[ end trace 0000000000000000 ]---\n\
          [    2.3][    C1] ---[ end trace 0000000000000000 ]---\n\
          [    2.4][    T7] eth0: link up\n",
    );
    let [first, second] = &reader.take_warnings()[..] else { panic!() };
    assert_eq!(first.frames, ["first", "first_caller"]);
    assert_eq!(second.frames, ["second", "second_caller"]);
    assert_eq!((first.task.as_ref().unwrap().pid, second.task.as_ref().unwrap().pid), (7, 8));
    assert_eq!((first.trace.len(), second.trace.len()), (5, 5));
}

#[test]
fn lines_between_cut_here_and_the_title_are_in_the_trace() {
    let reader = &mut read(
        b"[    2.0] ------------[ cut here ]------------\n\
          [    2.0] refcount_t: underflow; use-after-free.\n\
          [    2.0] WARNING: CPU: 0 PID: 7 at lib/refcount.c:28 refcount_warn_saturate+0xba/0x110\n",
    );
    let finding = &reader.take_warnings()[0];
    assert_eq!((finding.kind, finding.trace.len()), (Kind::Refcount, 3));
}

#[test]
fn several_titles_of_an_exception_are_one_crash() {
    let mut reader = read(
        b"[    2.0] list_del corruption. next->prev should be 1, but was 2\n\
          [    2.0] ------------[ cut here ]------------\n\
          [    2.0] kernel BUG at lib/list_debug.c:62!\n\
          [    2.0] invalid opcode: 0000 [#1] SMP\n\
          [    2.0] CPU: 0 PID: 7 Comm: a b Tainted: G 6.1.0 #1\n\
          [    2.0] RIP: 0010:__list_del_entry_valid.cold+0x1/0x2\n\
          [    2.0] Call Trace:\n\
          [    2.0]  list_corrupt+0x1/0x2 [faulty]\n\
          [    2.0] ---[ end trace 0 ]---\n",
    );
    let crash = reader.crash().unwrap().clone();
    assert_eq!((crash.kind, crash.severity), (Kind::ListCorruption, Severity::Broken));
    assert_eq!(crash.frames, ["list_corrupt"]);
    assert_eq!(crash.task.unwrap().comm, "a b");
    assert!(reader.take_warnings().is_empty());
}

#[test]
fn an_oom_kill_names_process_and_cgroup() {
    let console = |constraint: &str, who: &str| {
        format!(
            "[    3.5] u invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0\n\
             [    3.5] CPU: 0 PID: 60 Comm: u Not tainted 6.1.0 #1\n\
             [    3.5] oom-kill:constraint={constraint},task_memcg=/box,task=u b,pid=98,uid=0\n\
             [    3.5] {who}emory: Killed process 98 (u b) total-vm:9212kB\n"
        )
    };
    let group =
        &read(console("CONSTRAINT_MEMCG,oom_memcg=/box", "Memory cgroup out of m").as_bytes()).take_warnings()[0];
    assert_eq!((group.kind, group.cgroup.as_deref()), (Kind::MemcgOom, Some("/box")));
    assert_eq!(group.task, Some(Task { comm: "u b".to_owned(), pid: 98 }));
    assert!(group.title.starts_with("Memory cgroup out of memory: Killed process 98"), "{}", group.title);
    let all = &read(console("CONSTRAINT_NONE,global_oom", "Out of m").as_bytes()).take_warnings()[0];
    assert_eq!((all.kind, all.cgroup.as_deref(), all.trace.len()), (Kind::Oom, None, 4));
}

/// A `WARN()` at this place by this process.
fn warning(place: &str, pid: usize) -> String {
    format!("[    1.0] WARNING: CPU: 0 PID: {pid} at {place} f+0x1/0x2\n[    1.0] words\n")
}

/// The number of reports that the findings stand for.
fn count(findings: &[Finding]) -> u64 {
    findings.iter().map(|finding| 1 + finding.more_alike).sum()
}

#[test]
fn of_many_similar_reports_the_first_are_kept_and_all_are_counted() {
    let mut reader = ConsoleReader::default();
    for n in 0..10_000 {
        reader.push(warning(&format!("a.c:{}", n % 3), n).as_bytes());
    }
    reader.push(b"[    2.0] Kernel panic - not syncing: x\n");
    assert!(reader.has_panicked());
    reader.push("[    2.0]  f+0x1/0x2\n".repeat(1000).as_bytes());
    assert_eq!(reader.crash().unwrap().trace.len(), 200);
    let found = reader.take_warnings();
    assert_eq!((found.len() as u64, count(&found)), (3 * ALIKE, 10_000));
    assert!(found.iter().all(|finding| finding.trace.len() == 2));
    // The last report of each place has the count of further ones.
    for (finding, more) in found[found.len() - 3..].iter().zip([3334, 3333, 3333]) {
        assert_eq!(finding.more_alike, more - ALIKE, "{finding}");
    }
    assert!(found.last().unwrap().to_string().ends_with(&format!(", and {} more like it", 3333 - ALIKE)));
    // Reports that were taken are not returned again.
    reader.push(warning("a.c:0", 1).as_bytes());
    assert_eq!(count(&reader.take_warnings()), 1);
}

#[test]
fn of_many_different_reports_those_over_the_limit_are_counted_by_kind() {
    let mut reader = ConsoleReader::default();
    for n in 0..1000 {
        reader.push(warning(&format!("a.c:{n}"), 1).as_bytes());
        reader.push(format!("[    1.0] UBSAN: negation-overflow in b.c:{n}:1\n").as_bytes());
    }
    let found = reader.take_warnings();
    assert_eq!((found.len(), count(&found)), (KEPT + 2, 2000));
    let kinds: Vec<Kind> = found[KEPT..].iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, [Kind::Ubsan, Kind::Warning]);
}

#[test]
fn a_crash_is_found_among_endless_warnings() {
    let oops = "[    1.0] BUG: kernel NULL pointer dereference, address: 0000000000000010\n\
                [    1.0] Oops: 0002 [#1] SMP\n\
                [    1.0] CPU: 0 PID: 61 Comm: sh Not tainted 6.1.0 #1\n\
                [    1.0] RIP: 0010:boom+0x1/0x2\n[    1.0] Call Trace:\n[    1.0]  caller+0x1/0x2\n";
    for unlike in [1, 1000] {
        let flood: String = (0..1000).map(|n| warning(&format!("a.c:{}", n % unlike), n)).collect();
        let reader = &mut read(format!("{flood}{oops}{flood}").as_bytes());
        let crash = reader.crash().unwrap();
        assert_eq!((crash.kind, crash.frames.as_slice()), (Kind::Oops, &["boom".to_owned(), "caller".to_owned()][..]));
        assert_eq!(count(&reader.take_warnings()), 2000);
    }
    // A report that becomes the crash by its second title.
    let list = "[    1.0] list_del corruption. next->prev should be 1, but was 2\n";
    let bug = "[    1.0] kernel BUG at lib/list_debug.c:62!\n[    1.0] CPU: 0 PID: 61 Comm: sh Not tainted 6.1.0 #1\n";
    let reader = &mut read(format!("{}{list}{bug}", list.repeat(100)).as_bytes());
    let crash = reader.crash().unwrap();
    assert_eq!((crash.kind, crash.severity), (Kind::ListCorruption, Severity::Broken));
    assert_eq!(crash.task.as_ref().unwrap().pid, 61);
    let more = reader.take_warnings();
    assert!(more.iter().all(|finding| finding.kind == Kind::ListCorruption));
}

#[test]
fn oom_kills_are_counted_by_cgroup_and_process() {
    let kill = |cgroup: &str, comm: &str, pid: usize| {
        format!(
            "[    3.5] u invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0\n\
             [    3.5] CPU: 0 PID: {pid} Comm: u Not tainted 6.1.0 #1\n[    3.5] Call Trace:\n[    3.5]  f+0x1/0x2\n\
             [    3.5] oom-kill:constraint=CONSTRAINT_MEMCG,oom_memcg={cgroup},task_memcg=/,task={comm},pid={pid},uid=0\n\
             [    3.5] Memory cgroup out of memory: Killed process {pid} ({comm}) total-vm:{pid}kB\n"
        )
    };
    let flood: String = (0..100).map(|pid| kill("/box", "u", pid)).collect();
    let console = format!("{flood}{}{}{flood}", kill("/other", "u", 7), kill("/box", "v", 7));
    let found = read(console.as_bytes()).take_warnings();
    assert_eq!((found.len() as u64, count(&found)), (ALIKE + 2, 202));
    let where_and_who = |finding: &Finding| (finding.cgroup.clone().unwrap(), finding.task.clone().unwrap().comm);
    let [.., last, other, v] = &found[..] else { panic!() };
    assert_eq!(where_and_who(last), ("/box".to_owned(), "u".to_owned()));
    assert_eq!(where_and_who(other), ("/other".to_owned(), "u".to_owned()));
    assert_eq!(where_and_who(v), ("/box".to_owned(), "v".to_owned()));
    assert_eq!(last.more_alike, 200 - ALIKE);
}

#[test]
fn a_carriage_return_ends_a_line_and_hides_no_report() {
    let stamped = "[    1.0] BUG: x happened\r\n";
    for console in [
        stamped.to_owned(),
        format!("50 %\r{stamped}"),
        "50 %\r\rBUG: x happened\r\r\n".to_owned(),
        "[    1.0] BUG: x happened\rlogin: \r\n".to_owned(),
    ] {
        let reader = read(console.as_bytes());
        assert_eq!(reader.crash().map(|crash| crash.title.as_str()), Some("BUG: x happened"), "{console:?}");
    }
}

#[test]
fn a_panic_after_a_report_that_was_only_counted_is_named_by_a_similar_one() {
    let other = "[    1.0] INFO: task a:62 blocked for more than 5 seconds.\n";
    let flood: String = (0..100).map(|pid| warning("a.c:1", pid)).collect();
    let console =
        format!("{flood}{other}{}[    2.0] Kernel panic - not syncing: panic_on_warn set ...\n", warning("a.c:1", 7));
    let reader = &mut read(console.as_bytes());
    assert_eq!(reader.crash().unwrap().kind, Kind::Warning);
    assert_eq!(count(&reader.take_warnings()), 101);
}

/// All results of a console.
fn outcome(reader: &mut ConsoleReader) -> (Option<Finding>, Vec<Finding>, bool, Vec<String>, Vec<String>) {
    let last = reader.last_lines().map(str::to_owned).collect();
    let said = reader.said_by_init().to_vec();
    (reader.crash().cloned(), reader.take_warnings(), reader.has_panicked(), said, last)
}

proptest! {
    #[test]
    fn results_do_not_depend_on_how_the_console_is_split(
        lines in prop::collection::vec((0..all_lines().len(), any::<bool>(), 0_usize..6000), 1..12),
        sizes in prop::collection::vec(1_usize..3000, 1..40),
    ) {
        let mut console = Vec::new();
        for (which, stamped, noise) in lines {
            // Every fourth line has noise without a newline before it.
            if noise % 4 == 0 {
                console.extend(std::iter::repeat_n(b"a[\x1b\0\xff"[noise % 5], noise));
            }
            if stamped {
                console.extend_from_slice(b"[    1.234567] ");
            }
            console.extend_from_slice(all_lines()[which].as_bytes());
            console.extend_from_slice(b"\r\n");
        }
        let whole = outcome(&mut read(&console));
        let mut reader = ConsoleReader::default();
        let (mut rest, mut sizes) = (&console[..], sizes.iter().cycle());
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
            reader.push(now);
            rest = later;
        }
        reader.end();
        prop_assert_eq!(outcome(&mut reader), whole);
    }

    #[test]
    fn a_fingerprint_does_not_depend_on_time_cpu_task_and_offsets(
        one in any::<(u64, u32, u8, u32, u16)>(), other in any::<(u64, u32, u8, u32, u16)>(),
    ) {
        let console = |(address, pid, cpu, time, offset): (u64, u32, u8, u32, u16)| format!(
            "[{time:5}.{time:06}][T{pid}] BUG: unable to handle page fault for address: {address:016x}\n\
             [{time:5}.{time:06}][T{pid}] Oops: 0002 [#{cpu}] SMP\n\
             [{time:5}.{time:06}][T{pid}] CPU: {cpu} PID: {pid} Comm: sh Tainted: G 6.{cpu}.0 #{cpu}\n\
             [{time:5}.{time:06}][T{pid}] RIP: 0010:boom.isra.{cpu}+0x{offset:x}/0x{offset:x} [faulty]\n\
             [{time:5}.{time:06}][T{pid}] Call Trace:\n\
             [{time:5}.{time:06}][T{pid}]  <TASK>\n\
             [{time:5}.{time:06}][T{pid}]  ? noise_{offset}+0x1/0x2\n\
             [{time:5}.{time:06}][T{pid}]  caller+0x{offset:x}/0x{offset:x} [faulty {pid:08x}]\n\
             [{time:5}.{time:06}][T{pid}]  </TASK>\n");
        let name = |console: String| read(console.as_bytes()).crash().unwrap().fingerprint.clone();
        let first = name(console(one));
        prop_assert!(first.starts_with("oops:boom-"), "{}", first);
        prop_assert_eq!(first, name(console(other)));
    }
}

/// The rules' examples and near misses, and other lines of reports.
fn all_lines() -> Vec<&'static str> {
    const OTHERS: &[&str] = &[
        "------------[ cut here ]------------",
        "CPU: 0 PID: 61 Comm: sh Not tainted 6.1.0 #1",
        "Call Trace:",
        " f+0x1/0x2",
        " </TASK>",
        "---[ end trace 0000000000000000 ]---",
        "==================================================================",
        "vmlab-init: words",
        "Linux version 6.1.0",
        "",
    ];
    rules::all().flat_map(|rule| [rule.example, rule.near_miss]).chain(OTHERS.iter().copied()).collect()
}

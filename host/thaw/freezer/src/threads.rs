//! The threads of the process.

use vmlab_thaw_image::tables::Tables;
use vmlab_thaw_image::thread::{Registers, Thread};

use crate::procfs::{self, Memory};
use crate::raw;
use crate::refusal::Refusal;
use crate::tracee::Tracee;

/// `PR_GET_TID_ADDRESS` of prctl(2): needs CONFIG_CHECKPOINT_RESTORE.
const PR_GET_TID_ADDRESS: u64 = 40;
const PR_GET_TIMERSLACK: u64 = 30;

/// Adds all threads to the tables.
pub(crate) fn read(tracees: &mut [Tracee], tables: &mut Tables) -> Result<(), Refusal> {
    for tracee in tracees {
        let thread = read_one(tracee, tables)?;
        tables.threads.push(thread);
    }
    Ok(())
}

fn read_one(tracee: &mut Tracee, tables: &mut Tables) -> Result<Thread, Refusal> {
    let (id, room) = (tracee.thread, tracee.room());
    let state = raw::extended_state(id).map_err(Refusal::on("read QEMU's extended registers"))?;
    let xstate_at = tables.add_extended_state(&state)?;
    let signal_mask = raw::signal_mask(id).map_err(Refusal::on("read a thread's signal mask"))?;
    let (robust_list, robust_list_bytes) =
        raw::robust_list(id).map_err(Refusal::on("read a thread's list of robust mutexes"))?;
    let rseq = raw::rseq(id).map_err(Refusal::on("read a thread's restartable sequences"))?;
    let memory = Memory::of(id).map_err(Refusal::on("open QEMU's memory"))?;
    let read = |address: u64| memory.number(address).map_err(Refusal::on("read QEMU's memory"));

    done("find a thread's id", tracee.call(libc::SYS_prctl, [PR_GET_TID_ADDRESS, room, 0, 0, 0])?)?;
    let tid_at = read(room)?;
    // The lower half of the word.
    if read(tid_at).is_ok_and(|value| value & 0xffff_ffff != u64::from(id.as_raw().unsigned_abs())) {
        return Err(Refusal::ThreadId(id.as_raw()));
    }
    let slack = tracee.call(libc::SYS_prctl, [PR_GET_TIMERSLACK, 0, 0, 0, 0])?;
    let timer_slack_ns = done("read the slack of a thread's timers", slack)?;
    done("read a thread's signal stack", tracee.call(libc::SYS_sigaltstack, [0, room, 0, 0, 0])?)?;
    let (signal_stack, signal_stack_flags, signal_stack_bytes) = (read(room)?, read(room + 8)?, read(room + 16)?);

    let registers = &tracee.registers;
    if registers.gs_base != 0 || registers.fs != 0 || registers.gs != 0 {
        return Err(Refusal::Changed { what: "a segment register", thread: id.as_raw() });
    }
    let mut name = [0; 16];
    let comm = procfs::read(id, "comm")?;
    for (to, from) in name[..15].iter_mut().zip(comm.trim_end_matches('\n').bytes()) {
        *to = from;
    }
    Ok(Thread {
        registers: general(registers),
        signal_mask,
        fs_base: registers.fs_base,
        tid_at,
        robust_list,
        robust_list_bytes,
        rseq: rseq.address,
        rseq_bytes: rseq.bytes,
        rseq_signature: rseq.signature,
        timer_slack_ns,
        signal_stack,
        signal_stack_bytes,
        // The upper half is padding.
        signal_stack_flags: signal_stack_flags.to_le_bytes().first_chunk().map_or(0, |half| u32::from_le_bytes(*half)),
        xstate_at,
        xstate_bytes: state.len() as u64,
        name,
    })
}

/// The result of a call that succeeded.
pub(crate) fn done(step: &'static str, result: i64) -> Result<u64, Refusal> {
    u64::try_from(result).map_err(|_| {
        let error = i32::try_from(-result).unwrap_or(i32::MAX);
        Refusal::on(step)(std::io::Error::from_raw_os_error(error))
    })
}

/// A segment is a number of 16 bits.
fn segment(register: u64) -> u16 {
    u16::from_le_bytes([register.to_le_bytes()[0], register.to_le_bytes()[1]])
}

fn general(registers: &libc::user_regs_struct) -> Registers {
    let r = registers;
    Registers {
        r8: r.r8,
        r9: r.r9,
        r10: r.r10,
        r11: r.r11,
        r12: r.r12,
        r13: r.r13,
        r14: r.r14,
        r15: r.r15,
        rdi: r.rdi,
        rsi: r.rsi,
        rbp: r.rbp,
        rbx: r.rbx,
        rdx: r.rdx,
        rax: r.rax,
        rcx: r.rcx,
        rsp: r.rsp,
        rip: r.rip,
        eflags: r.eflags,
        cs: segment(r.cs),
        ss: segment(r.ss),
        reserved: 0,
    }
}

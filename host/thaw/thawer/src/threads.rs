//! Makes the threads of the frozen process, and lets them go.
#![expect(unsafe_code, reason = "clone(2) and rt_sigreturn(2) start code at any address; threads share what is static")]

use core::arch::asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU32, Ordering};

use vmlab_thaw_image::THREADS_LIMIT;
use vmlab_thaw_image::image::Image;
use vmlab_thaw_image::thread::{Registers, Thread};

use crate::exit::fail;
use crate::failure::Failure;
use crate::kernel::safe_call;
use crate::process;

/// The room in which a thread prepares itself, in bytes.
const STACK_BYTES: usize = 16 << 10;

#[repr(C, align(64))]
struct Stack([u8; STACK_BYTES]);

/// Memory that threads write to, each to a part of its own.
#[repr(transparent)]
struct Shared<T>(UnsafeCell<T>);
// SAFETY: see the users: each stack belongs to one thread, and the image is written before there are threads.
unsafe impl<T> Sync for Shared<T> {}

static STACKS: Shared<[Stack; THREADS_LIMIT]> =
    Shared(UnsafeCell::new([const { Stack([0; STACK_BYTES]) }; THREADS_LIMIT]));
static IMAGE: Shared<Option<Image<'static>>> = Shared(UnsafeCell::new(None));

/// The number of further threads that have prepared themselves.
static READY: AtomicU32 = AtomicU32::new(0);
/// 1 as soon as every thread may enter the frozen process.
static GO: AtomicU32 = AtomicU32::new(0);

/// `struct ucontext` of arch/x86/include/uapi/asm/ucontext.h with `struct sigcontext_64` of asm/sigcontext.h: what rt_sigreturn(2)
/// finds at the stack pointer.
#[repr(C, align(16))]
struct Frame {
    flags: u64,
    link: u64,
    signal_stack: u64,
    signal_stack_flags: u64,
    signal_stack_bytes: u64,
    general: [u64; 18],
    cs: u16,
    gs: u16,
    fs: u16,
    ss: u16,
    error: u64,
    trap: u64,
    old_mask: u64,
    cr2: u64,
    extended_state: u64,
    reserved: [u64; 8],
    mask: u64,
}

/// `UC_FP_XSTATE`, `UC_SIGCONTEXT_SS` and `UC_STRICT_RESTORE_SS`.
const FRAME_FLAGS: u64 = 1 | 2 | 4;

/// Makes the further threads, puts the filter on all of them, and enters the frozen process.
pub(crate) fn enter_all(image: &Image<'static>, title: &'static [u8]) -> Result<core::convert::Infallible, Failure> {
    // No signal may come between, before each thread has a mask of its own.
    let all = u64::MAX;
    safe_call!("cannot block signals", SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const all, 0, 8)?;
    // SAFETY: there is one thread.
    unsafe { *IMAGE.0.get() = Some(*image) };
    let mut further = 0;
    for (number, thread) in image.threads().enumerate().skip(1) {
        spawn(number, &thread?)?;
        further += 1;
    }
    let first = image.threads().get(0)?;
    safe_call!("cannot set the thread-local storage", SYS_arch_prctl, 0x1002 /* ARCH_SET_FS */, first.fs_base)?;
    let id = safe_call!("cannot set the thread id's address", SYS_set_tid_address, first.tid_at)?;
    #[expect(clippy::cast_possible_truncation, reason = "a thread id has 32 bits")]
    // SAFETY: the decoder has checked that a writable range has this address, and it is mapped.
    unsafe {
        (first.tid_at as *mut u32).write(id as u32);
    }
    prepare(&first)?;
    // The name of the first thread is that of the process. The kernel cuts it to 15 bytes.
    let name = if title.len() > 1 { title } else { &first.name };
    safe_call!("cannot name the process", SYS_prctl, libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0)?;
    // What a thread calls to prepare itself may be denied by the filter, so it waits for them.
    loop {
        let ready = READY.load(Ordering::Acquire);
        if ready == further {
            break;
        }
        wait(&READY, ready);
    }
    process::restore_filter(image)?;
    GO.store(1, Ordering::Release);
    wake(&GO)?;
    let state = image.extended_state(&first).ok_or(Failure::new("a thread has no extended state", 0))?;
    enter(&first, state)
}

/// clone(2): a thread that begins on a stack of its own with its number.
fn spawn(number: usize, thread: &Thread) -> Result<(), Failure> {
    let flags = libc::CLONE_VM
        | libc::CLONE_FS
        | libc::CLONE_FILES
        | libc::CLONE_SIGHAND
        | libc::CLONE_THREAD
        | libc::CLONE_SYSVSEM
        | libc::CLONE_SETTLS
        | libc::CLONE_CHILD_SETTID
        | libc::CLONE_CHILD_CLEARTID;
    // SAFETY: the number is less than THREADS_LIMIT, which the decoder checks.
    let top = unsafe { STACKS.0.get().cast::<Stack>().add(number + 1) };
    let result: i64;
    // SAFETY: the new thread uses its own stack only, and never returns from `begin`. The kernel writes its id to an address that the
    // decoder has checked.
    unsafe {
        asm!("syscall", "test rax, rax", "jnz 2f", "xor ebp, ebp", "mov rdi, r12", "call {begin}", "ud2", "2:",
             begin = sym begin, inlateout("rax") libc::SYS_clone => result, in("rdi") i64::from(flags), in("rsi") top,
             in("rdx") 0, in("r10") thread.tid_at, in("r8") thread.fs_base, in("r12") number,
             lateout("rcx") _, lateout("r11") _);
    }
    crate::kernel::checked("cannot make a thread", result).map(drop)
}

/// The life of a further thread. A failure ends the whole process: no thread has entered yet.
extern "C" fn begin(number: usize) -> ! {
    // SAFETY: it was written before the first thread was made.
    let image = unsafe { *IMAGE.0.get() };
    let failure = Failure::new("a thread is not in the image", 0);
    let Some(image) = image else { fail(&failure) };
    let Ok(thread) = image.threads().get(number) else { fail(&failure) };
    let Some(state) = image.extended_state(&thread) else { fail(&failure) };
    if let Err(failure) = prepare(&thread) {
        fail(&failure);
    }
    READY.fetch_add(1, Ordering::Release);
    if let Err(failure) = wake(&READY) {
        fail(&failure);
    }
    while GO.load(Ordering::Acquire) == 0 {
        wait(&GO, 0);
    }
    enter(&thread, state)
}

/// What a thread sets for itself.
fn prepare(thread: &Thread) -> Result<(), Failure> {
    if thread.robust_list_bytes != 0 {
        let what = "cannot set the list of robust mutexes";
        safe_call!(what, SYS_set_robust_list, thread.robust_list, thread.robust_list_bytes)?;
    }
    if thread.rseq != 0 {
        let what = "cannot register restartable sequences";
        safe_call!(what, SYS_rseq, thread.rseq, thread.rseq_bytes, 0, thread.rseq_signature)?;
    }
    let name = thread.name;
    safe_call!("cannot name a thread", SYS_prctl, libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0)?;
    let what = "cannot set the slack of timers";
    safe_call!(what, SYS_prctl, libc::PR_SET_TIMERSLACK, thread.timer_slack_ns, 0, 0, 0).map(drop)
}

fn wait(place: &AtomicU32, value: u32) {
    // It returns early if the value is another one already, or a signal comes. The caller looks again.
    let _ = safe_call!("", SYS_futex, place.as_ptr(), libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG, value, 0, 0, 0);
}

fn wake(place: &AtomicU32) -> Result<(), Failure> {
    let how = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
    safe_call!("cannot wake threads", SYS_futex, place.as_ptr(), how, i32::MAX, 0, 0, 0).map(drop)
}

/// Goes on where the thread was frozen.
fn enter(thread: &Thread, extended_state: &'static [u8]) -> ! {
    let frame = frame(thread, extended_state);
    // SAFETY: the kernel reads the frame, which is complete, and goes on in the frozen process, whose memory is mapped.
    unsafe {
        asm!("mov rsp, {frame}", "mov eax, {number}", "syscall", "ud2", frame = in(reg) &raw const frame,
             number = const libc::SYS_rt_sigreturn, options(noreturn));
    }
}

fn frame(thread: &Thread, extended_state: &'static [u8]) -> Frame {
    let Registers {
        r8,
        r9,
        r10,
        r11,
        r12,
        r13,
        r14,
        r15,
        rdi,
        rsi,
        rbp,
        rbx,
        rdx,
        rax,
        rcx,
        rsp,
        rip,
        eflags,
        cs,
        ss,
        ..
    } = thread.registers;
    Frame {
        flags: FRAME_FLAGS,
        link: 0,
        signal_stack: thread.signal_stack,
        signal_stack_flags: u64::from(thread.signal_stack_flags),
        signal_stack_bytes: thread.signal_stack_bytes,
        general: [r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, eflags],
        cs,
        gs: 0,
        fs: 0,
        ss,
        error: 0,
        trap: 0,
        old_mask: 0,
        cr2: 0,
        extended_state: extended_state.as_ptr().addr() as u64,
        reserved: [0; 8],
        mask: thread.signal_mask,
    }
}

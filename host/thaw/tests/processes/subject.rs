//! The process that is frozen: threads that wait in system calls, an eventfd, a signalfd, a seccomp filter, and memory of every kind.
#![expect(unsafe_code, reason = "system calls without a safe function")]

use std::fs::File;
use std::hint::black_box;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::{AsFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;
use std::{env, ptr, thread};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::inotify::{InitFlags, Inotify};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, sigaction};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{Pid, dup};

/// Which process this is to be; without it, it is the test.
pub const VARIABLE: &str = "VMLAB_TEST_SUBJECT";
/// Where the guest's memory is.
pub const RAM: &str = "VMLAB_TEST_RAM";
/// The descriptor on which it is asked and answers.
pub const CONTROL: i32 = 3;
/// The error of the system call that the filter denies.
pub const DENIED: u32 = 99;

static COUNTER: AtomicU32 = AtomicU32::new(0);
static HANDLED: AtomicU32 = AtomicU32::new(0);

extern "C" fn handle(_: libc::c_int) {
    HANDLED.fetch_add(1, Ordering::SeqCst);
}

/// Lives as the process of this kind.
pub fn live(kind: &str) {
    // SAFETY: the test has passed the descriptor, and nobody else uses it.
    let control = UnixStream::from(unsafe { OwnedFd::from_raw_fd(CONTROL) });
    let mut blocked = SigSet::empty();
    blocked.add(Signal::SIGUSR1);
    blocked.thread_block().unwrap();
    let action = SigAction::new(SigHandler::Handler(handle), SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handler changes an atomic number only.
    unsafe { sigaction(Signal::SIGUSR2, &action) }.unwrap();
    let _held = strange(kind);
    let ram = map_ram();
    let wiped = wiped_in_a_fork();
    let signals = SignalFd::with_flags(&blocked, SfdFlags::SFD_CLOEXEC).unwrap();
    let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC).unwrap();
    let second = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).unwrap();
    second.write(5).unwrap();
    // Another number of the same eventfd.
    let same = dup(event.as_fd()).unwrap();
    let (to_main, from_thread) = mpsc::channel();
    let (to_second, orders) = mpsc::channel::<u32>();
    thread::Builder::new().name("reader".to_owned()).spawn(move || read_events(&event, &to_main)).unwrap();
    thread::Builder::new().name("waiter".to_owned()).spawn(move || orders.into_iter().for_each(drop)).unwrap();
    // SAFETY: prctl(2) touches no memory.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1234) }, 0);
    if kind == "filtered" {
        deny_getpriority();
    }
    let mut lines = BufReader::new(control.try_clone().unwrap());
    (&control).write_all(b"ready\n").unwrap();
    let mut line = String::new();
    loop {
        let mut polled = [PollFd::new(control.as_fd(), PollFlags::POLLIN)];
        poll(&mut polled, PollTimeout::NONE).unwrap();
        line.clear();
        if lines.read_line(&mut line).unwrap() == 0 {
            return;
        }
        let answer = match line.trim() {
            "count" => (COUNTER.fetch_add(1, Ordering::SeqCst) + 1).to_string(),
            "event" => {
                nix::unistd::write(&same, &7_u64.to_ne_bytes()).unwrap();
                let (value, id) = from_thread.recv().unwrap();
                // The C library knows the thread's new id.
                format!("{value} {}", id == thread_id("reader"))
            }
            "second" => second.read().unwrap().to_string(),
            "signal" => {
                kill(Pid::this(), Signal::SIGUSR1).unwrap();
                signals.read_signal().unwrap().unwrap().ssi_signo.to_string()
            }
            "handler" => {
                kill(Pid::this(), Signal::SIGUSR2).unwrap();
                HANDLED.load(Ordering::SeqCst).to_string()
            }
            "denied" => denied().to_string(),
            "thread" => thread::spawn(|| 42).join().unwrap().to_string(),
            "send" => to_second.send(1).is_ok().to_string(),
            "heap" => grow_heap().to_string(),
            "stack" => deep(2000).to_string(),
            // SAFETY: prctl(2) touches no memory.
            "slack" => unsafe { libc::prctl(libc::PR_GET_TIMERSLACK) }.to_string(),
            "ram" => change(ram).to_string(),
            "wiped" => std::mem::replace(wiped, *wiped + 1).to_string(),
            "float" => (black_box(1.5_f64).sqrt() * 1000.0).floor().to_string(),
            "exit" => std::process::exit(9),
            other => panic!("{other}"),
        };
        (&control).write_all(format!("{answer}\n").as_bytes()).unwrap();
    }
}

fn read_events(event: &EventFd, to_main: &mpsc::Sender<(u64, i32)>) {
    while let Ok(value) = event.read() {
        to_main.send((value, nix::unistd::gettid().as_raw())).unwrap();
    }
}

/// The id of a thread by its name.
fn thread_id(name: &str) -> i32 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|entry| entry.unwrap().path());
    let found = tasks.filter(|task| std::fs::read_to_string(task.join("comm")).unwrap().trim() == name);
    found.map(|task| task.file_name().unwrap().to_str().unwrap().parse().unwrap()).next().unwrap()
}

/// Whether the heap grows by brk(2).
fn grow_heap() -> bool {
    // SAFETY: the C library's allocator accepts a heap that others have enlarged.
    let before = unsafe { libc::sbrk(1 << 20) };
    if before.addr() == usize::MAX {
        return false;
    }
    // SAFETY: the memory was just made.
    unsafe { ptr::write_bytes(before.cast::<u8>(), 1, 1 << 20) };
    true
}

/// Uses some 4 MB of the stack.
fn deep(levels: u32) -> u32 {
    let room = black_box([1_u8; 2048]);
    if levels == 0 { 0 } else { deep(levels - 1) + u32::from(room[black_box(7)]) }
}

fn denied() -> i32 {
    // SAFETY: getpriority(2) touches no memory.
    unsafe {
        *libc::__errno_location() = 0;
        libc::getpriority(libc::PRIO_PROCESS, 0);
        *libc::__errno_location()
    }
}

/// A shared mapping of the guest's memory, as a template's QEMU has it.
fn map_ram() -> *mut u8 {
    let file = File::options().read(true).write(true).open(env::var_os(RAM).unwrap()).unwrap();
    // SAFETY: a new mapping, at an address that the kernel chooses.
    let ram = unsafe {
        use std::os::fd::AsRawFd as _;
        libc::mmap(ptr::null_mut(), 1 << 20, 3, libc::MAP_SHARED, file.as_raw_fd(), 0)
    };
    assert_ne!(ram, libc::MAP_FAILED);
    // Open, like QEMU's.
    std::mem::forget(file);
    // SAFETY: the mapping has 1 MiB.
    unsafe { ram.cast::<u8>().add(5000).write(77) };
    ram.cast()
}

/// Adds one to a byte of the guest's memory, and returns it.
fn change(ram: *mut u8) -> u8 {
    // SAFETY: the mapping has 1 MiB, and this thread alone uses it.
    unsafe {
        let byte = ram.add(5000);
        byte.write(byte.read() + 1);
        byte.read()
    }
}

/// A byte that is 7, and in memory of which a fork has only zeros, like the state of the C library's random generator (glibc 2.41).
fn wiped_in_a_fork() -> &'static mut u8 {
    // SAFETY: a new mapping, at an address that the kernel chooses, and which stays.
    unsafe {
        let memory = libc::mmap(ptr::null_mut(), 8192, 3, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0);
        assert_ne!(memory, libc::MAP_FAILED);
        assert_eq!(libc::madvise(memory, 8192, libc::MADV_WIPEONFORK), 0);
        let byte = &mut *memory.cast::<u8>();
        *byte = 7;
        byte
    }
}

/// A filter that lets getpriority(2) fail with [`DENIED`].
fn deny_getpriority() {
    let step = |code: u32, jt, jf, k| libc::sock_filter { code: u16::try_from(code).unwrap(), jt, jf, k };
    let number = u32::try_from(libc::SYS_getpriority).unwrap();
    let mut filter = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, number),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | DENIED),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: 4, filter: filter.as_mut_ptr() };
    // SAFETY: the kernel reads the program, whose length is right.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let flags = libc::SECCOMP_FILTER_FLAG_TSYNC;
        assert_eq!(libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program), 0);
    }
}

/// Makes what the freezer has to refuse. What is returned has to stay.
fn strange(kind: &str) -> Vec<OwnedFd> {
    let anonymous = |bytes: usize, flags| {
        // SAFETY: a new mapping, at an address that the kernel chooses.
        let memory = unsafe { libc::mmap(ptr::null_mut(), bytes, 3, flags | libc::MAP_ANONYMOUS, -1, 0) };
        assert_ne!(memory, libc::MAP_FAILED);
        memory
    };
    match kind {
        "shared" => drop(anonymous(8192, libc::MAP_SHARED)),
        "locked" => {
            let memory = anonymous(8192, libc::MAP_PRIVATE);
            // SAFETY: mlock(2) changes no memory.
            assert_eq!(unsafe { libc::mlock(memory, 8192) }, 0);
        }
        "pipe" => {
            let (reader, writer) = nix::unistd::pipe().unwrap();
            return vec![reader, writer];
        }
        "inotify" => return vec![Inotify::init(InitFlags::empty()).unwrap().into()],
        "threads" => {
            for _ in 0..70 {
                thread::spawn(|| thread::sleep(Duration::from_secs(1000)));
            }
        }
        // One every 100 us.
        "ending" => {
            for after in 1..50 {
                thread::spawn(move || thread::sleep(Duration::from_micros(100 * after)));
            }
        }
        "runs" => drop(thread::spawn(|| {
            while COUNTER.load(Ordering::Relaxed) == 0 {
                std::hint::spin_loop();
            }
        })),
        "timer" => {
            let soon = libc::timeval { tv_sec: 900, tv_usec: 0 };
            let timer = libc::itimerval { it_interval: soon, it_value: soon };
            // SAFETY: the kernel reads the timer.
            assert_eq!(unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, ptr::null_mut()) }, 0);
        }
        "deleted" => {
            let file = tempfile::tempfile().unwrap();
            file.set_len(4096).unwrap();
            // SAFETY: a new mapping, at an address that the kernel chooses.
            unsafe {
                use std::os::fd::AsRawFd as _;
                libc::mmap(ptr::null_mut(), 4096, 1, libc::MAP_PRIVATE, file.as_raw_fd(), 0);
            }
        }
        // Not by seccomp(2) but by prctl(2), which the freezer does not look at.
        "unseen" => {
            let mut filter = [libc::sock_filter { code: 6, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW }];
            let program = libc::sock_fprog { len: 1, filter: filter.as_mut_ptr() };
            // SAFETY: the kernel reads the program, whose length is right.
            unsafe {
                assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
                assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program), 0);
            }
        }
        // It ends with this process, which has the other end of its input.
        "child" => {
            #[expect(clippy::zombie_processes, reason = "it ends after this process")]
            let mut child = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
            return vec![child.stdin.take().unwrap().into()];
        }
        _ => {}
    }
    Vec::new()
}

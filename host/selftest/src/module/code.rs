//! The machine code of the faults: x86-64 code that runs within the top 2 GiB of the address space, as the kernel's own does
//! (`-mcmodel=kernel`), so that an address fits 32 signed bits.

/// The section that a fixup's value is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    Text,
    Data,
}

/// What a fixup's value refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum To {
    /// This offset in the code.
    Text(u64),
    /// This offset in the data.
    Data(u64),
    /// The kernel's symbol of this name.
    Import(&'static str),
}

/// How a fixup's value is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// 8 bytes, absolute.
    Absolute,
    /// 4 bytes, absolute, sign-extended.
    Absolute32,
    /// 4 bytes, counted from the byte behind them, as in calls and in `[rip + x]`.
    Relative32,
}

/// A value that the kernel writes when it loads the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fixup {
    pub(crate) section: Section,
    /// The offset in the section.
    pub(crate) at: u64,
    pub(crate) kind: Kind,
    pub(crate) to: To,
}

/// A module's content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Code {
    pub(crate) text: Vec<u8>,
    pub(crate) data: Vec<u8>,
    pub(crate) fixups: Vec<Fixup>,
    /// The offset of the init function in the code.
    pub(crate) init: u64,
    /// An entry of `__bug_table`: the offset of its instruction in the code, and its flags.
    pub(crate) bug: Option<(u64, u16)>,
}

pub(crate) type Make = fn() -> Code;

/// How one fault's module is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recipe {
    /// The name of the module and of the fault that loads it.
    pub(crate) name: &'static str,
    /// The config symbol without which the kernel cannot have this fault.
    pub(crate) needs: Option<&'static str>,
    /// Makes the content.
    pub(crate) code: Make,
    /// A config symbol, and what makes the content for kernels that have it.
    pub(crate) other: Option<(&'static str, Make)>,
}

impl Recipe {
    /// The content for a kernel. `has` says whether the kernel has a config symbol.
    pub(crate) fn code_for(&self, has: impl Fn(&str) -> bool) -> Code {
        match self.other {
            Some((symbol, code)) if has(symbol) => code(),
            _ => (self.code)(),
        }
    }
}

const fn recipe(name: &'static str, code: fn() -> Code) -> Recipe {
    Recipe { name, needs: None, code, other: None }
}

/// ud2, an invalid instruction. The kernel takes it for a BUG() if `__bug_table` has an entry for it.
const UD2: &[u8] = b"\x0f\x0b";
/// A jump to the jump itself.
const SPIN: &[u8] = b"\xeb\xfe";
/// xor eax, eax; mov [rax], eax
const WRITE_TO_0: &[u8] = b"\x31\xc0\x89\x00";
/// An address between the two halves of the address space, with four-level and with five-level paging.
const NON_CANONICAL: u64 = 0xdead_0000_0000_0000;
/// `BUGFLAG_WARNING | BUGFLAG_TAINT(TAINT_WARN)` of include/asm-generic/bug.h: bit 0 is set, and the upper byte is 9.
const WARNING: u16 = 1 | 9 << 8;

/// The recipes of all faults that need a module.
pub(crate) const ALL: &[Recipe] = &[
    recipe("bug", || Code::default().begin().bug(0).bytes(UD2)),
    // xor edx, edx; xor eax, eax; xor ecx, ecx; div ecx
    recipe("divide-error", || Code::default().begin().bytes(b"\x31\xd2\x31\xc0\x31\xc9\xf7\xf1").success()),
    // xor esp, esp; push rax
    recipe("double-fault", || Code::default().begin().bytes(b"\x31\xe4\x50").success()),
    recipe("general-protection", || {
        // movabs rax, NON_CANONICAL; mov [rax], eax
        Code::default().begin().bytes(b"\x48\xb8").bytes(&NON_CANONICAL.to_le_bytes()).bytes(b"\x89\x00").success()
    }),
    // cli
    recipe("hard-lockup", || Code::default().begin().bytes(b"\xfa").bytes(SPIN)),
    // mov edi, 8000 (ms)
    recipe("hung-task", || Code::default().begin().bytes(b"\xbf\x40\x1f\x00\x00").call("msleep").success()),
    recipe("invalid-opcode", || Code::default().begin().bytes(UD2).success()),
    Recipe { name: "kfence", needs: Some("CONFIG_KFENCE"), code: kfence, other: None },
    // What RCU_LOCKDEP_WARN() does (include/linux/rcupdate.h): mov esi, 1 (the line); rdx is the message.
    Recipe {
        name: "lockdep",
        needs: Some("CONFIG_PROVE_LOCKING"),
        code: || {
            let code = Code::default().data(b"fault.c\0").data(b"the fault suite asked for this\0").begin().rdi_data(0);
            code.bytes(b"\xbe\x01\0\0\0").rdx_data(8).call("lockdep_rcu_suspicious").success()
        },
        other: None,
    },
    recipe("null-dereference", || Code::default().begin().bytes(WRITE_TO_0).success()),
    recipe("oops-in-interrupt", || {
        // The callback, then the init function. It gives the callback to call_rcu(9), with a head of two words.
        let callback = Code::default().data(&[0; 16]).bytes(ENDBR64).bytes(WRITE_TO_0).bytes(SPIN);
        callback.begin().rdi_data(0).rsi_text(0).call("call_rcu").success()
    }),
    // The C string is the format; xor eax, eax says that no vector register holds an argument.
    recipe("panic", || {
        Code::default().data(b"the fault suite asked for this\0").begin().rdi_data(0).bytes(b"\x31\xc0").call("panic")
    }),
    Recipe { name: "rcu-stall", needs: None, code: rcu_stall, other: Some(("CONFIG_PREEMPT_RCU", rcu_reader)) },
    // A free spin lock is 0. A preemptible kernel does not preempt a task that holds a spin lock.
    recipe("soft-lockup", || Code::default().data(&[0; 64]).begin().rdi_data(0).call("_raw_spin_lock").bytes(SPIN)),
    // call itself. Without a guard page, the stack would overwrite the memory below it, with unknown effects
    Recipe {
        name: "stack-overflow",
        needs: Some("CONFIG_VMAP_STACK"),
        code: || Code::default().begin().bytes(b"\xe8\xfb\xff\xff\xff").success(),
        other: None,
    },
    recipe("triple-fault", || {
        // lidt [rip + the data], a table without entries: neither the next exception nor the double fault has a handler.
        let code = Code::default().data(&[0; 16]).begin().bytes(b"\x0f\x01\x1d");
        code.fixup(Kind::Relative32, To::Data(0)).bytes(UD2)
    }),
    Recipe { name: "ubsan", needs: Some("CONFIG_UBSAN_BOUNDS"), code: ubsan, other: None },
    recipe("warning", || Code::default().begin().bug(WARNING).bytes(UD2).success()),
];

/// endbr64, the only instruction that an indirect call may jump to on a processor that checks this (Intel SDM, CET).
const ENDBR64: &[u8] = b"\xf3\x0f\x1e\xfa";

/// Allocates, frees and reads memory again and again, because KFENCE watches only one allocation per sample interval.
fn kfence() -> Code {
    // sub rsp, 16; mov ebx, 1000
    let mut code = Code::default().data(b"victim\0").begin().bytes(b"\x48\x83\xec\x10\xbb\xe8\x03\0\0");
    let again = code.here();
    // mov esi, GFP_KERNEL (0xcc0, Linux 4.20 and later); call; mov [rsp], rax; mov rdi, rax
    code = code.rdi_data(0).bytes(b"\xbe\xc0\x0c\0\0").call("kstrdup").bytes(b"\x48\x89\x04\x24\x48\x89\xc7");
    // mov rax, [rsp]; test rax, rax; jz over the next; mov al, [rax]; mov edi, 1 (ms)
    code = code.call("kfree").bytes(b"\x48\x8b\x04\x24\x48\x85\xc0\x74\x02\x8a\x00\xbf\x01\0\0\0").call("msleep");
    // dec ebx; jnz; add rsp, 16
    code.bytes(b"\xff\xcb").bytes(b"\x0f\x85").back(again).bytes(b"\x48\x83\xc4\x10").success()
}

/// RCU callbacks of two kinds. Some queue themselves again for ever, some ticks apart, so that a grace period always follows.
/// Two block their processor for a while, in the middle of the next grace period.
fn rcu_stall() -> Code {
    /// How long one callback blocks its processor, in ns: longer than the RCU stall timeout; both together shorter than the
    /// soft lockup threshold.
    const HOLD: u64 = 4_500_000_000;
    /// The number of callbacks that do not block. All callbacks have a head of two words.
    const OTHERS: u8 = 16;
    const HEADS: usize = OTHERS as usize + 2;
    // push rbx; call; movabs rbx, HOLD; add rbx, rax
    let mut code = Code::default().data(&[0; 16 * HEADS]).bytes(ENDBR64).bytes(b"\x53").call("ktime_get");
    code = code.bytes(b"\x48\xbb").bytes(&HOLD.to_le_bytes()).bytes(b"\x48\x01\xc3");
    let again = code.here();
    // pause; call; cmp rax, rbx; jl; pop rbx; ret
    code = code.bytes(b"\xf3\x90").call("ktime_get").bytes(b"\x48\x39\xd8").bytes(b"\x0f\x8c").back(again);
    code = code.bytes(b"\x5b\xc3");
    let once_more = code.here();
    // The head is in rdi. push rbx; call; pop rbx; ret
    code = code.bytes(ENDBR64).bytes(b"\x53").rsi_text(once_more).call("call_rcu").bytes(b"\x5b\xc3");
    // sub rsp, 16; mov [rsp], the first head; mov ebx, OTHERS
    code = code.begin().bytes(b"\x48\x83\xec\x10").bytes(b"\x48\xc7\x04\x24").fixup(Kind::Absolute32, To::Data(0));
    code = code.bytes(&[0xbb, OTHERS, 0, 0, 0]);
    let again = code.here();
    // mov rdi, [rsp]; add qword [rsp], 16; call; mov edi, 1 (ms); call
    code = code.bytes(b"\x48\x8b\x3c\x24\x48\x83\x04\x24\x10").rsi_text(once_more).call("call_rcu");
    code = code.bytes(b"\xbf\x01\0\0\0").call("msleep");
    // dec ebx; jnz; add rsp, 16
    code = code.bytes(b"\xff\xcb").bytes(b"\x0f\x85").back(again).bytes(b"\x48\x83\xc4\x10");
    code = code.rdi_data(16 * u64::from(OTHERS)).rsi_text(0).call("call_rcu").bytes(b"\xbf\x01\0\0\0").call("msleep");
    code.rdi_data(16 * u64::from(OTHERS) + 16).rsi_text(0).call("call_rcu").success()
}

/// For kernels with preemptible RCU: a reader asks for a grace period and sleeps ten times for half a second. The grace
/// period cannot end meanwhile. The kernel warns of the sleep as well.
fn rcu_reader() -> Code {
    // The callback does nothing: ret
    let code = Code::default().data(&[0; 16]).bytes(ENDBR64).bytes(b"\xc3").begin();
    // mov ebx, 10
    let mut code = code.rdi_data(0).rsi_text(0).call("call_rcu").call("__rcu_read_lock").bytes(b"\xbb\x0a\0\0\0");
    let again = code.here();
    // mov edi, 500 (ms); call; dec ebx; jnz
    code = code.bytes(b"\xbf\xf4\x01\0\0").call("msleep").bytes(b"\xff\xcb").bytes(b"\x0f\x85").back(again);
    code.call("__rcu_read_unlock").success()
}

/// Calls UBSAN's handler as code from the compiler does (lib/ubsan.h: `out_of_bounds_data`, `type_descriptor`).
fn ubsan() -> Code {
    // The type int: signed, 2^5 bits, its name.
    let mut code = Code::default().data(b"\0\0\x0b\0'int [1]'\0\0\0").data(b"fault.c\0");
    let data = code.data.len() as u64;
    for (word, to) in [(0, 16), (16, 0), (24, 0)] {
        code.fixups.push(Fixup { section: Section::Data, at: data + word, kind: Kind::Absolute, to: To::Data(to) });
    }
    // File, line, column, the array's type, the index's type.
    code = code.data(&[0; 8]).data(&[1, 0, 0, 0, 1, 0, 0, 0]).data(&[0; 16]);
    // mov esi, 2
    code.begin().rdi_data(data).bytes(b"\xbe\x02\0\0\0").call("__ubsan_handle_out_of_bounds").success()
}

impl Code {
    /// Begins the init function. The kernel calls it with a stack that is aligned for calls after one more push.
    fn begin(mut self) -> Self {
        self.init = self.here();
        // push rbx
        self.bytes(ENDBR64).bytes(b"\x53")
    }

    /// xor eax, eax; pop rbx; ret
    fn success(self) -> Self {
        self.bytes(b"\x31\xc0\x5b\xc3")
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.text.extend_from_slice(bytes);
        self
    }

    fn data(mut self, bytes: &[u8]) -> Self {
        self.data.extend_from_slice(bytes);
        self
    }

    /// Gives the next instruction an entry in `__bug_table`.
    fn bug(mut self, flags: u16) -> Self {
        self.bug = Some((self.here(), flags));
        self
    }

    /// mov rdi, the address of this offset in the data
    fn rdi_data(self, at: u64) -> Self {
        self.bytes(b"\x48\xc7\xc7").fixup(Kind::Absolute32, To::Data(at))
    }

    /// mov rdx, the address of this offset in the data
    fn rdx_data(self, at: u64) -> Self {
        self.bytes(b"\x48\xc7\xc2").fixup(Kind::Absolute32, To::Data(at))
    }

    /// The 4 bytes of a jump back to this offset, counted from the byte behind them.
    fn back(self, to: u64) -> Self {
        let distance = u32::try_from(self.here() + 4 - to).unwrap_or_default();
        self.bytes(&distance.wrapping_neg().to_le_bytes())
    }

    /// mov rsi, the address of this offset in the code
    fn rsi_text(self, at: u64) -> Self {
        self.bytes(b"\x48\xc7\xc6").fixup(Kind::Absolute32, To::Text(at))
    }

    fn call(self, function: &'static str) -> Self {
        self.bytes(b"\xe8").fixup(Kind::Relative32, To::Import(function))
    }

    /// 4 bytes that the kernel fills in.
    fn fixup(mut self, kind: Kind, to: To) -> Self {
        self.fixups.push(Fixup { section: Section::Text, at: self.here(), kind, to });
        self.bytes(&[0; 4])
    }

    fn here(&self) -> u64 {
        self.text.len() as u64
    }

    /// The kernel's symbols that the code refers to.
    pub(crate) fn imports(&self) -> impl Iterator<Item = &'static str> {
        self.fixups.iter().filter_map(|fixup| match fixup.to {
            To::Import(name) => Some(name),
            To::Text(_) | To::Data(_) => None,
        })
    }
}

//! The machine code of the faults, x86-64 as the kernel is built: position-dependent within the top 2 GiB
//! (`-mcmodel=kernel`), so that an address fits 32 signed bits.

/// Where a fixup's value goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the code.
    Text,
    /// In the data.
    Data,
}

/// What a fixup's value is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum To {
    /// A place in the code.
    Text(u64),
    /// A place in the data.
    Data(u64),
    /// What the kernel exports under this name.
    Import(&'static str),
}

/// How a fixup's value is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 8 bytes, absolute.
    Absolute,
    /// 4 bytes, absolute, sign-extended.
    Absolute32,
    /// 4 bytes, counted from behind themselves, as calls and `[rip + x]` have them.
    Relative32,
}

/// A value that is known only when the kernel has laid out the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fixup {
    /// Where it goes.
    pub place: Place,
    /// And where there.
    pub at: u64,
    /// In which form.
    pub kind: Kind,
    /// What it is.
    pub to: To,
}

/// A module's own content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Code {
    /// Instructions.
    pub text: Vec<u8>,
    /// What they read and write.
    pub data: Vec<u8>,
    /// What the kernel fills in.
    pub fixups: Vec<Fixup>,
    /// Where in the code the init function begins.
    pub init: u64,
    /// An entry of `__bug_table`: the instruction it is about, and its flags.
    pub bug: Option<(u64, u16)>,
}

/// Writes a module's content down.
pub type Make = fn() -> Code;

/// A module that can be made.
#[derive(Debug, Clone, Copy)]
pub struct Recipe {
    /// Its name, and that of the fault that loads it.
    pub name: &'static str,
    /// The config symbol without which the kernel cannot have this fault.
    pub needs: Option<&'static str>,
    /// Its content.
    pub code: Make,
    /// Its content where the kernel has this config symbol.
    pub other: Option<(&'static str, Make)>,
}

impl Recipe {
    /// Its content for a kernel.
    pub fn code_for(&self, has: impl Fn(&str) -> bool) -> Code {
        match self.other {
            Some((symbol, code)) if has(symbol) => code(),
            _ => (self.code)(),
        }
    }
}

const fn recipe(name: &'static str, code: fn() -> Code) -> Recipe {
    Recipe { name, needs: None, code, other: None }
}

/// What the processor does not know, and the kernel takes for BUG() where its table says so.
const UD2: &[u8] = b"\x0f\x0b";
/// A jump to itself.
const SPIN: &[u8] = b"\xeb\xfe";
/// xor eax, eax; mov [rax], eax
const WRITE_TO_0: &[u8] = b"\x31\xc0\x89\x00";
/// Between the two halves of the address space, with four-level paging and with five.
const NON_CANONICAL: u64 = 0xdead_0000_0000_0000;
/// `BUGFLAG_WARNING | BUGFLAG_TAINT(TAINT_WARN)` of include/asm-generic/bug.h: bit 0, and 9 in the upper byte.
const WARNING: u16 = 1 | 9 << 8;

/// All of them.
pub const ALL: &[Recipe] = &[
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
    // What RCU_LOCKDEP_WARN() does (include/linux/rcupdate.h): mov esi, 1 (the line); rdx is what was wrong.
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
        // The callback; then the init function, which gives it to call_rcu(9) with a head of two words.
        let callback = Code::default().data(&[0; 16]).bytes(ENDBR64).bytes(WRITE_TO_0).bytes(SPIN);
        callback.begin().rdi_data(0).rsi_text(0).call("call_rcu").success()
    }),
    // The C string is its format; xor eax, eax says that no vector register holds an argument.
    recipe("panic", || {
        Code::default().data(b"the fault suite asked for this\0").begin().rdi_data(0).bytes(b"\x31\xc0").call("panic")
    }),
    Recipe { name: "rcu-stall", needs: None, code: rcu_stall, other: Some(("CONFIG_PREEMPT_RCU", rcu_reader)) },
    // A spin lock that is free is 0; a kernel that can preempt itself does not while it holds one.
    recipe("soft-lockup", || Code::default().data(&[0; 64]).begin().rdi_data(0).call("_raw_spin_lock").bytes(SPIN)),
    // call itself; a stack without a guard page runs over what lies below it, and what comes of that nobody knows
    Recipe {
        name: "stack-overflow",
        needs: Some("CONFIG_VMAP_STACK"),
        code: || Code::default().begin().bytes(b"\xe8\xfb\xff\xff\xff").success(),
        other: None,
    },
    recipe("triple-fault", || {
        // lidt [rip + the data], a table of no entries; what comes then has no handler, nor has the fault from that.
        let code = Code::default().data(&[0; 16]).begin().bytes(b"\x0f\x01\x1d");
        code.fixup(Kind::Relative32, To::Data(0)).bytes(UD2)
    }),
    Recipe { name: "ubsan", needs: Some("CONFIG_UBSAN_BOUNDS"), code: ubsan, other: None },
    recipe("warning", || Code::default().begin().bug(WARNING).bytes(UD2).success()),
];

/// Where an indirect call may lead to on a processor that checks that (Intel SDM, CET).
const ENDBR64: &[u8] = b"\xf3\x0f\x1e\xfa";

/// Reads memory that was freed, until the detector has chosen it: it takes one allocation in each of its intervals.
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

/// Callbacks of RCU: some that ask to be called again for ever, some ticks apart, so that one grace period follows upon the
/// other; and two that hold their processor up, in the middle of the next.
fn rcu_stall() -> Code {
    /// How long one of these holds it up, in ns: longer than it takes until the kernel says so, and both together shorter
    /// than it takes to be a soft lockup.
    const HOLD: u64 = 4_500_000_000;
    /// How many of the others. All have a head of two words.
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

/// Where readers of RCU can be preempted: one that sleeps for ten times half a second, and asks for a grace period, which
/// cannot end meanwhile. The kernel warns of the sleep as well.
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

/// A report as the compiler's own code makes it (lib/ubsan.h: `out_of_bounds_data`, `type_descriptor`).
fn ubsan() -> Code {
    // An int, signed and of 2^5 bits; its name.
    let mut code = Code::default().data(b"\0\0\x0b\0'int [1]'\0\0\0").data(b"fault.c\0");
    let data = code.data.len() as u64;
    for (word, to) in [(0, 16), (16, 0), (24, 0)] {
        code.fixups.push(Fixup { place: Place::Data, at: data + word, kind: Kind::Absolute, to: To::Data(to) });
    }
    // The file, the line and the column, the array's type, the index's.
    code = code.data(&[0; 8]).data(&[1, 0, 0, 0, 1, 0, 0, 0]).data(&[0; 16]);
    // mov esi, 2
    code.begin().rdi_data(data).bytes(b"\xbe\x02\0\0\0").call("__ubsan_handle_out_of_bounds").success()
}

impl Code {
    /// Here the init function begins, which the kernel calls with a stack aligned for calls once a word is pushed.
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

    /// The next instruction has an entry in the table of BUG() and WARN().
    fn bug(mut self, flags: u16) -> Self {
        self.bug = Some((self.here(), flags));
        self
    }

    /// mov rdi, the data from there on
    fn rdi_data(self, at: u64) -> Self {
        self.bytes(b"\x48\xc7\xc7").fixup(Kind::Absolute32, To::Data(at))
    }

    /// mov rdx, the data from there on
    fn rdx_data(self, at: u64) -> Self {
        self.bytes(b"\x48\xc7\xc2").fixup(Kind::Absolute32, To::Data(at))
    }

    /// The 4 bytes of a jump back to there, counted from behind themselves.
    fn back(self, to: u64) -> Self {
        let distance = u32::try_from(self.here() + 4 - to).unwrap_or_default();
        self.bytes(&distance.wrapping_neg().to_le_bytes())
    }

    /// mov rsi, the code from there on
    fn rsi_text(self, at: u64) -> Self {
        self.bytes(b"\x48\xc7\xc6").fixup(Kind::Absolute32, To::Text(at))
    }

    fn call(self, function: &'static str) -> Self {
        self.bytes(b"\xe8").fixup(Kind::Relative32, To::Import(function))
    }

    /// 4 bytes for the kernel to fill in.
    fn fixup(mut self, kind: Kind, to: To) -> Self {
        self.fixups.push(Fixup { place: Place::Text, at: self.here(), kind, to });
        self.bytes(&[0; 4])
    }

    fn here(&self) -> u64 {
        self.text.len() as u64
    }

    /// What it imports.
    pub fn imports(&self) -> impl Iterator<Item = &'static str> {
        self.fixups.iter().filter_map(|fixup| match fixup.to {
            To::Import(name) => Some(name),
            To::Text(_) | To::Data(_) => None,
        })
    }
}

//! The extended state of a processor (x87, SSE, AVX and later), from the form in which ptrace(2) gives it to the form in which
//! rt_sigreturn(2) takes it.
//!
//! Both are the layout of the XSAVE instruction (Intel SDM, volume 1, chapter 13). A signal frame also has a description of itself
//! in bytes 464 to 511, which software may use, and a number behind the state (`struct _fpx_sw_bytes` of
//! arch/x86/include/uapi/asm/sigcontext.h). Without these two marks rt_sigreturn(2) restores x87 and SSE only.

/// The size of the state that every x86-64 processor has, and of the header behind it, in bytes.
const LEGACY: usize = 512;
const HEADER: usize = 64;
/// Where ptrace(2) puts the set of state components that the kernel has enabled (XCR0), and a signal frame its description.
const DESCRIPTION_AT: usize = 464;
/// `FP_XSTATE_MAGIC1` and `FP_XSTATE_MAGIC2`.
const MARK: u32 = 0x4650_5853;
const END_MARK: u32 = 0x4650_5845;
/// The size of the mark behind the state, in bytes.
pub const END_MARK_BYTES: usize = 4;
/// The greatest size of a signal frame's state, in bytes. With AMX tiles it has 11 KiB.
pub const LIMIT: usize = 16 << 10;

/// Makes a signal frame's state of a state that ptrace(2) has written to the beginning of `state`, `bytes` long. Returns its length;
/// None if the state is too short or has no room for the mark.
pub fn to_signal_frame(state: &mut [u8], bytes: usize) -> Option<usize> {
    let whole = bytes.checked_add(END_MARK_BYTES)?;
    if bytes < LEGACY + HEADER || whole > state.len() || whole > LIMIT {
        return None;
    }
    let (Ok(size), Ok(extended)) = (u32::try_from(bytes), u32::try_from(whole)) else { return None };
    let enabled: [u8; 8] = state[DESCRIPTION_AT..].first_chunk().copied()?;
    let mut at = DESCRIPTION_AT;
    let zeros = [0; LEGACY - DESCRIPTION_AT - 20];
    for part in [&MARK.to_le_bytes()[..], &extended.to_le_bytes(), &enabled, &size.to_le_bytes(), &zeros] {
        state[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    state[bytes..whole].copy_from_slice(&END_MARK.to_le_bytes());
    Some(whole)
}

/// Whether this is the state of a signal frame.
#[must_use]
pub fn is_signal_frame(state: &[u8]) -> bool {
    let number =
        |at: usize| state.get(at..).and_then(|rest| rest.first_chunk()).map(|bytes| u32::from_le_bytes(*bytes));
    let Some(bytes) = state.len().checked_sub(END_MARK_BYTES).filter(|bytes| *bytes >= LEGACY + HEADER) else {
        return false;
    };
    state.len() <= LIMIT
        && number(DESCRIPTION_AT) == Some(MARK)
        && number(DESCRIPTION_AT + 4).map(|size| size as usize) == Some(state.len())
        && number(DESCRIPTION_AT + 16).map(|size| size as usize) == Some(bytes)
        && number(bytes) == Some(END_MARK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn a_state_of_any_size_becomes_that_of_a_signal_frame() {
        for bytes in [576, 832, 2696, 11_008] {
            let mut state = vec![7; bytes + END_MARK_BYTES];
            assert!(!is_signal_frame(&state));
            assert_eq!(to_signal_frame(&mut state, bytes), Some(state.len()));
            assert!(is_signal_frame(&state));
            assert_eq!(state[472..480], [7; 8], "the enabled components");
            assert_eq!(state[484..512], [0; 28]);
            assert!(!is_signal_frame(&state[..bytes]));
        }
    }

    #[test]
    fn a_state_without_room_for_the_mark_is_refused() {
        assert_eq!(to_signal_frame(&mut [0; 579], 576), None);
        assert_eq!(to_signal_frame(&mut [0; 600], 575), None);
        assert_eq!(to_signal_frame(&mut vec![0; LIMIT + 8], LIMIT), None);
        assert_eq!(to_signal_frame(&mut [0; 600], usize::MAX), None);
    }
}

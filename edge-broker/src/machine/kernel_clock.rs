//! What the kernel says about its clock: every time service tells it.

/// Whether the kernel's clock is synchronised; none where it does not answer.
#[allow(unsafe_code)]
pub fn is_synchronised() -> Option<bool> {
    // SAFETY: all fields are plain numbers, so zeros are values; `modes = 0` changes nothing.
    let mut clock: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: it fills in the one struct it is given, which lives longer than the call. Nothing
    // safe offers this call.
    let state = unsafe { libc::adjtimex(&mut clock) };
    (state >= 0).then_some(clock.status & libc::STA_UNSYNC == 0)
}

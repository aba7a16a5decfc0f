//! The guard of maps: a SIGBUS handler that turns a failed page into zeros and a flag.
//!
//! The one piece of global state in the project, and opt-in. The handler takes no lock and
//! allocates nothing: it walks a fixed table of atomic ranges. For a fault inside one of them it
//! maps zeros from the faulting page to the end of that range and sets its flag; anything else
//! goes to the handler that was there before (Rust's own handler included).

use std::{
    io, mem, ptr,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
};

/// How many maps can be guarded at once; further files are read by `pread`.
const RANGES: usize = 4096;

struct Slot {
    taken: AtomicBool,
    start: AtomicUsize,
    end: AtomicUsize,
    faulted: AtomicBool,
}

static TABLE: [Slot; RANGES] = [const {
    Slot {
        taken: AtomicBool::new(false),
        start: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
        faulted: AtomicBool::new(false),
    }
}; RANGES];

static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

/// A guarded range of memory; dropping it takes it off the table.
pub(crate) struct Range(&'static Slot);

impl Range {
    /// Puts a range on the table; `None` where the table is full.
    pub(crate) fn register(start: usize, length: usize) -> Option<Self> {
        let free = |slot: &&Slot| {
            slot.taken
                .compare_exchange(false, true, SeqCst, SeqCst)
                .is_ok()
        };
        let slot = TABLE.iter().find(free)?;
        slot.faulted.store(false, SeqCst);
        slot.end.store(start + length, SeqCst);
        // Last: the handler takes a slot with start 0 for empty.
        slot.start.store(start, SeqCst);
        Some(Self(slot))
    }

    pub(crate) fn faulted(&self) -> bool {
        self.0.faulted.load(SeqCst)
    }
}

impl Drop for Range {
    fn drop(&mut self) {
        self.0.start.store(0, SeqCst);
        self.0.end.store(0, SeqCst);
        self.0.taken.store(false, SeqCst);
    }
}

/// Whether the guard is installed: without it no file is mapped.
pub fn guard_installed() -> bool {
    BEFORE.get().is_some()
}

/// Installs the guard for the whole process. Calling it again does nothing.
///
/// Call it once at start, after any other library that handles SIGBUS.
pub fn install_guard() -> io::Result<()> {
    static ONCE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one_at_a_time = ONCE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    if guard_installed() {
        return Ok(());
    }
    // SAFETY: all-zero bytes are a valid sigaction.
    let mut before: libc::sigaction = unsafe { mem::zeroed() };
    // SAFETY: asks for the present action only; `before` outlives the call.
    if unsafe { libc::sigaction(libc::SIGBUS, ptr::null(), &raw mut before) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // Known before the handler can run, so that it can always chain.
    BEFORE.get_or_init(|| before);
    // SAFETY: all-zero bytes are a valid sigaction.
    let mut ours: libc::sigaction = unsafe { mem::zeroed() };
    ours.sa_sigaction = handle as *const () as usize;
    ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: `sa_mask` is ours and valid.
    unsafe { libc::sigemptyset(&raw mut ours.sa_mask) };
    // SAFETY: `ours` is a whole action with a handler of the SA_SIGINFO form.
    if unsafe { libc::sigaction(libc::SIGBUS, &raw const ours, ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

extern "C" fn handle(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: errno is a thread-local of libc.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: the pointer is valid for this thread.
    let saved = unsafe { *errno };
    // SAFETY: the kernel gives a valid siginfo to an SA_SIGINFO handler.
    let code = unsafe { (*info).si_code };
    // SAFETY: as above.
    let info_ref = unsafe { &*info };
    // SAFETY: for SIGBUS the address is set.
    let address = unsafe { info_ref.si_addr() } as usize;
    if code != libc::BUS_ADRERR || !zero_from(address) {
        chain(signal, info, context);
    }
    // SAFETY: as above.
    unsafe { *errno = saved };
}

fn zero_from(address: usize) -> bool {
    let ours = |slot: &&Slot| {
        let start = slot.start.load(SeqCst);
        start != 0 && (start..slot.end.load(SeqCst)).contains(&address)
    };
    let Some(slot) = TABLE.iter().find(ours) else {
        return false;
    };
    slot.faulted.store(true, SeqCst);
    // SAFETY: sysconf has no preconditions.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let page = usize::try_from(page).unwrap_or(4096);
    let from = address & !(page - 1);
    let length = slot.end.load(SeqCst).saturating_sub(from);
    // SAFETY: the range is a map of ours, registered for as long as it is mapped, and read-only;
    // replacing its pages by zeros changes bytes that the reader verifies by checksum, and the
    // flag tells it.
    let mapped = unsafe {
        libc::mmap(
            from as *mut libc::c_void,
            length,
            libc::PROT_READ,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
            -1,
            0,
        )
    };
    mapped != libc::MAP_FAILED
}

fn chain(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let Some(before) = BEFORE.get() else { return };
    match before.sa_sigaction {
        libc::SIG_DFL | libc::SIG_IGN => {
            // Back to the default; the instruction faults again and ends the process as it would
            // have without us.
            // SAFETY: all-zero bytes are a valid sigaction: SIG_DFL.
            let default: libc::sigaction = unsafe { mem::zeroed() };
            // SAFETY: `default` is a whole action.
            unsafe { libc::sigaction(signal, &raw const default, ptr::null_mut()) };
        }
        handler if before.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: with SA_SIGINFO the stored address is a handler of this form.
            let handler = unsafe {
                mem::transmute::<usize, extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void)>(
                    handler,
                )
            };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: without SA_SIGINFO the stored address is a handler of this form.
            let handler = unsafe { mem::transmute::<usize, extern "C" fn(i32)>(handler) };
            handler(signal);
        }
    }
}

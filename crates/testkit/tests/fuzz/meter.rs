//! Counts what is allocated, and sees to it that no input takes for ever.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    fmt::Write,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

struct Meter;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn grow(bytes: usize) {
    let now = NOW.fetch_add(bytes, Ordering::Relaxed) + bytes;
    PEAK.fetch_max(now, Ordering::Relaxed);
}

// SAFETY: every call goes to `System` as it came; only sizes are counted beside it.
#[allow(unsafe_code, reason = "an allocator that counts is the only way to see every allocation")]
unsafe impl GlobalAlloc for Meter {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both are there while the bytes move.
        grow(size);
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) };
    }
}

#[global_allocator]
static METER: Meter = Meter;

/// What is worked on: since when, and what to print if it never ends.
static INPUT: Mutex<Option<(Instant, String)>> = Mutex::new(None);

/// Runs something on an input; returns the bytes allocated on top of what there was, at most. `label` and `input` are
/// printed if it does not end.
pub(crate) fn measure<R>(label: &dyn std::fmt::Display, input: &[u8], f: impl FnOnce() -> R) -> (R, usize) {
    let mut text = format!("{label} ");
    for byte in input.iter().take(1 << 16) {
        write!(text, "{byte:02x}").unwrap();
    }
    *INPUT.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), text));
    let before = NOW.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let outcome = f();
    let peak = PEAK.load(Ordering::Relaxed).saturating_sub(before);
    *INPUT.lock().unwrap_or_else(PoisonError::into_inner) = None;
    (outcome, peak)
}

/// Runs a test on a thread like the server's and ends the process if one input takes longer than `limit`. One at a time:
/// there is one meter.
pub(crate) fn watched(limit: Duration, test: impl FnOnce() + Send + 'static) {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let worker = std::thread::Builder::new().stack_size(16 << 20).spawn(test).unwrap();
    while !worker.is_finished() {
        std::thread::park_timeout(Duration::from_millis(20));
        if let Some((since, text)) = &*INPUT.lock().unwrap_or_else(PoisonError::into_inner)
            && since.elapsed() > limit
        {
            eprintln!("hangs: {text}");
            std::process::abort();
        }
    }
    *INPUT.lock().unwrap_or_else(PoisonError::into_inner) = None;
    worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

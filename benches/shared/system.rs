//! Calls to the kernel and the C library that the standard library lacks: file limits, exact timers, signals, clock
//! ticks, allocated memory.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;
use tokio::io::unix::AsyncFd;

/// Raises the soft limit of open files to the hard one and returns it.
pub fn raise_file_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls get a pointer to a live rlimit and keep no reference to it.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
    limit.rlim_cur
}

/// Sends a signal to a process that this program started.
///
/// # Errors
/// Where the process is gone.
pub fn signal(pid: u32, signal: i32) -> io::Result<()> {
    let pid = i32::try_from(pid).map_err(io::Error::other)?;
    // SAFETY: takes two numbers.
    if unsafe { libc::kill(pid, signal) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// How many ticks of /proc/PID/stat make a second.
pub fn ticks_per_second() -> f64 {
    // SAFETY: takes a number.
    unsafe { libc::sysconf(libc::_SC_CLK_TCK) as f64 }
}

/// Bytes that are allocated now. Of a program with one thread, under glibc: others allocate where this does not look.
pub fn allocated_bytes() -> usize {
    // SAFETY: takes nothing and returns numbers.
    let info = unsafe { libc::mallinfo2() };
    info.uordblks + info.hblkhd
}

/// A periodic timer of the kernel: tokio's own rounds to a millisecond, which is more than a fan-out takes.
pub struct Ticker(AsyncFd<OwnedFd>);

impl Ticker {
    /// Starts a timer that fires each `period`; call it inside a runtime.
    ///
    /// # Errors
    /// Where the kernel has no descriptor left.
    pub fn start(period: Duration) -> io::Result<Self> {
        let spec = libc::timespec {
            tv_sec: period.as_secs() as libc::time_t,
            tv_nsec: libc::c_long::from(period.subsec_nanos()),
        };
        let timer = libc::itimerspec { it_interval: spec, it_value: spec };
        // SAFETY: the descriptor is owned at once and stays the same one until the AsyncFd is dropped;
        // timerfd_settime reads a live struct and writes nothing back.
        unsafe {
            let fd = libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            let owned = OwnedFd::from_raw_fd(fd);
            if libc::timerfd_settime(fd, 0, &raw const timer, std::ptr::null_mut()) < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Self(AsyncFd::register(owned).map_err(io::Error::other)?))
        }
    }

    /// Waits until the period is over.
    ///
    /// # Errors
    /// Those of `read`.
    pub async fn tick(&self) -> io::Result<()> {
        loop {
            let mut ready = self.0.readable().await?;
            match ready.try_io(|timer| take_ticks(timer.as_raw_fd())) {
                Ok(result) => return result,
                Err(_not_yet) => {}
            }
        }
    }
}

fn take_ticks(timer: RawFd) -> io::Result<()> {
    let mut ticks = 0u64;
    // SAFETY: reads 8 bytes into a live u64.
    let read = unsafe { libc::read(timer, (&raw mut ticks).cast(), 8) };
    if read == 8 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

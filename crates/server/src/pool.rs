//! The threads for what takes long: heavy updates, large documents. Only so many jobs run at a time, so that a flood
//! of them takes no thread and no processor from everybody else; the others wait in line, first come first served.
//!
//! The line needs no bound of its own: a document has one job at most on its way.

use std::sync::Arc;

use tokio::{runtime::Handle, sync::Semaphore};

/// Runs jobs on the runtime's blocking threads, which have the stacks that deep documents need.
#[derive(Debug, Clone)]
pub struct Pool {
    runtime: Handle,
    places: Arc<Semaphore>,
}

impl Pool {
    /// Makes a pool of so many threads.
    pub fn new(runtime: Handle, threads: usize) -> Self {
        Self { runtime, places: Arc::new(Semaphore::new(threads)) }
    }

    /// Runs a job once it is its turn. It must not panic: nobody hears of it.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) {
        let (runtime, places) = (self.runtime.clone(), self.places.clone());
        match places.clone().try_acquire_owned() {
            Ok(place) => {
                runtime.spawn_blocking(move || {
                    job();
                    drop(place);
                });
            }
            // The line itself costs no thread.
            Err(_) => {
                self.runtime.spawn(async move {
                    let place = places.acquire_owned().await;
                    runtime.spawn_blocking(move || {
                        job();
                        drop(place);
                    });
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
            mpsc,
        },
        time::Duration,
    };

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn no_more_jobs_run_at_a_time_than_there_are_threads_and_none_is_lost() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("runtime");
        let pool = Pool::new(runtime.handle().clone(), 2);
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (began, begun) = mpsc::channel();
        let (told, done) = mpsc::channel();
        let mut gates = Vec::new();
        for number in 0..8 {
            let (open, gate) = mpsc::channel::<()>();
            gates.push(open);
            let (running, most, began, told) = (running.clone(), most.clone(), began.clone(), told.clone());
            pool.run(move || {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                began.send(number).expect("the test listens");
                gate.recv().expect("the test opens the gate");
                running.fetch_sub(1, Ordering::SeqCst);
                told.send(number).expect("the test listens");
            });
        }
        // Both places are taken; a third job would begin at once if it could.
        let mut first =
            [begun.recv_timeout(LONG).expect("begins"), begun.recv_timeout(LONG).expect("begins")];
        first.sort_unstable();
        assert_eq!(first, [0, 1]);
        assert!(begun.recv_timeout(Duration::from_millis(50)).is_err(), "a third job runs");
        for gate in &gates {
            gate.send(()).expect("the job waits");
        }
        let mut all: Vec<i32> = (0..8).map(|_| done.recv_timeout(LONG).expect("done")).collect();
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(most.load(Ordering::SeqCst), 2);
    }
}

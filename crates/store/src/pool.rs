//! A few threads for what would hold up commits: reading documents, compressing checkpoints.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::JoinHandle,
};

use parking_lot::{Condvar, Mutex};

use crate::{engine::panic_text, error::StoreError};

/// Something to do once.
pub(crate) type Task = Box<dyn FnOnce() + Send>;

/// Threads that take tasks in order. With none, tasks run where they are handed in.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    arrived: Condvar,
    quiet: Condvar,
}

#[derive(Default)]
struct Queue {
    tasks: VecDeque<Task>,
    running: usize,
    closed: bool,
}

impl Pool {
    /// Starts the threads.
    pub(crate) fn start(threads: usize) -> Result<Self, StoreError> {
        let shared = Arc::new(Shared::default());
        let mut handles = Vec::with_capacity(threads);
        for number in 0..threads {
            let shared = shared.clone();
            let handle = std::thread::Builder::new()
                .name(format!("store-{number}"))
                .spawn(move || shared.run())
                .map_err(|error| StoreError::Io(format!("no helper thread: {error}")))?;
            handles.push(handle);
        }
        Ok(Self { shared, threads: Mutex::new(handles) })
    }

    /// Hands in a task. It always runs: here where there is no thread for it any more.
    pub(crate) fn run(&self, task: Task) {
        let mut queue = self.shared.queue.lock();
        if queue.closed || self.threads.lock().is_empty() {
            drop(queue);
            task();
            return;
        }
        queue.tasks.push_back(task);
        self.shared.arrived.notify_one();
    }

    /// Waits until every task handed in is done.
    pub(crate) fn drain(&self) {
        let mut queue = self.shared.queue.lock();
        while queue.running > 0 || !queue.tasks.is_empty() {
            self.shared.quiet.wait(&mut queue);
        }
    }

    /// Does what is queued and ends the threads.
    pub(crate) fn shutdown(&self) {
        self.shared.queue.lock().closed = true;
        self.shared.arrived.notify_all();
        let threads = std::mem::take(&mut *self.threads.lock());
        for thread in threads {
            // Tasks are contained: a thread that panicked all the same has none left.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self) {
        let mut queue = self.queue.lock();
        loop {
            let Some(task) = queue.tasks.pop_front() else {
                if queue.closed {
                    return;
                }
                self.arrived.wait(&mut queue);
                continue;
            };
            queue.running += 1;
            drop(queue);
            if let Err(panic) = catch_unwind(AssertUnwindSafe(task)) {
                let text = panic_text(&*panic);
                tracing::error!(event = "store_task_panicked", text);
            }
            queue = self.queue.lock();
            queue.running -= 1;
            if queue.running == 0 && queue.tasks.is_empty() {
                self.quiet.notify_all();
            }
        }
    }
}

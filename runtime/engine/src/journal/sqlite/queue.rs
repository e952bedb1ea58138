//! A queue between threads. Who finds it empty sleeps at once: a commit takes far longer than the moment for which a
//! queue that spins would have kept a core busy, and the cores belong to guests and HTTP.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

/// See the module. Any number of threads put and take; it closes when the last of those who take has gone.
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
    emptied: Condvar,
    most: usize,
}

struct State<T> {
    items: VecDeque<T>,
    closed: bool,
    /// Handles to take by.
    living: usize,
    /// Threads asleep because there is nothing to take, and because there is no room: nobody else is woken.
    takers: usize,
    putters: usize,
}

/// A handle to take by.
pub(super) struct Taker<T>(Arc<Queue<T>>);

impl<T> Queue<T> {
    /// For `most` items; who puts another one waits for room.
    pub(super) fn bounded(most: usize) -> Queue<T> {
        Queue {
            state: Mutex::new(State {
                items: VecDeque::new(),
                closed: false,
                living: 0,
                takers: 0,
                putters: 0,
            }),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            most,
        }
    }

    /// Without a bound of its own.
    pub(super) fn unbounded() -> Queue<T> {
        Queue::bounded(usize::MAX)
    }

    /// Dropped once the queue is closed.
    pub(super) fn put(&self, item: T) {
        let mut state = self.state();
        while state.items.len() >= self.most && !state.closed {
            state.putters += 1;
            state = wait(&self.emptied, state);
            state.putters -= 1;
        }
        if state.closed {
            return;
        }
        state.items.push_back(item);
        let asleep = state.takers > 0;
        drop(state);
        if asleep {
            self.filled.notify_one();
        }
    }

    /// A handle for one thread.
    pub(super) fn taker(self: &Arc<Queue<T>>) -> Taker<T> {
        self.state().living += 1;
        Taker(self.clone())
    }

    /// Nothing is put any more; what is there is still taken.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.filled.notify_all();
        self.emptied.notify_all();
    }

    fn tell_of_room(&self, state: MutexGuard<'_, State<T>>) {
        let asleep = state.putters > 0;
        drop(state);
        if asleep {
            self.emptied.notify_one();
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Taker<T> {
    /// Waits for the next item; `None` when the queue is closed and all were taken.
    pub(super) fn take(&self) -> Option<T> {
        let queue = &self.0;
        let mut state = queue.state();
        loop {
            if let Some(item) = state.items.pop_front() {
                queue.tell_of_room(state);
                return Some(item);
            }
            if state.closed {
                return None;
            }
            state.takers += 1;
            state = wait(&queue.filled, state);
            state.takers -= 1;
        }
    }

    /// The next item if there is one now.
    pub(super) fn try_take(&self) -> Option<T> {
        let mut state = self.0.state();
        let item = state.items.pop_front()?;
        self.0.tell_of_room(state);
        Some(item)
    }
}

impl<T> Drop for Taker<T> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.living -= 1;
        if state.living > 0 {
            return;
        }
        // A thread that panicked takes nothing more: whoever waits for what it should have done learns so.
        state.closed = true;
        let left = std::mem::take(&mut state.items);
        drop(state);
        drop(left);
        self.0.emptied.notify_all();
    }
}

fn wait<'a, T>(condvar: &Condvar, state: MutexGuard<'a, State<T>>) -> MutexGuard<'a, State<T>> {
    condvar.wait(state).unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn all_that_is_put_is_taken_once_in_order_and_then_it_ends() {
        let queue = Arc::new(Queue::bounded(2));
        let takers: Vec<_> = (0..3)
            .map(|_| {
                let taker = queue.taker();
                thread::spawn(move || std::iter::from_fn(|| taker.take()).collect::<Vec<u32>>())
            })
            .collect();
        for number in 0..1_000 {
            queue.put(number);
        }
        queue.close();
        queue.put(1_000);
        let mut all = Vec::new();
        for taker in takers {
            let taken = taker.join().unwrap();
            assert!(taken.is_sorted(), "a taker's items are in order");
            all.extend(taken);
        }
        all.sort_unstable();
        assert_eq!(all, (0..1_000).collect::<Vec<_>>());
        assert_eq!(queue.taker().try_take(), None);
    }

    #[test]
    fn who_waits_for_room_is_let_go_when_the_queue_closes() {
        let queue = Arc::new(Queue::bounded(1));
        let taker = queue.taker();
        queue.put(1);
        let putter = thread::spawn({
            let queue = queue.clone();
            move || queue.put(2)
        });
        queue.close();
        putter.join().unwrap();
        assert_eq!(taker.take(), Some(1));
        assert_eq!(taker.take(), None);
    }

    #[test]
    fn what_nobody_is_left_to_take_is_dropped() {
        let queue = Arc::new(Queue::unbounded());
        let taker = queue.taker();
        let item = Arc::new(());
        queue.put(item.clone());
        drop(taker);
        queue.put(item.clone());
        assert_eq!(Arc::strong_count(&item), 1);
    }
}

//! Disk work that takes long, beside the loop.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;

#[derive(Debug)]
pub struct Job {
    result: Receiver<io::Result<()>>,
}

impl Job {
    /// Do it in a thread, and write to `waker` when it is done.
    pub fn start(
        waker: &UnixStream,
        work: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> Self {
        let (sender, result) = channel();
        let waker = waker.try_clone();
        let failed = sender.clone();
        let spawned = waker.and_then(|mut waker| {
            thread::Builder::new()
                .stack_size(256 * 1024)
                .spawn(move || {
                    // The receiver lives as long as the job matters; the loop drains the waker.
                    let _ = sender.send(work());
                    let _ = waker.write_all(&[0]);
                })
        });
        if let Err(error) = spawned {
            let _ = failed.send(Err(error));
        }
        Self { result }
    }

    /// `None` while it is at work.
    pub fn poll(&self) -> Option<io::Result<()>> {
        match self.result.try_recv() {
            Ok(result) => Some(result),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(io::Error::other("it broke off"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn it_wakes_the_loop_with_its_result() {
        let (mut wakened, waker) = UnixStream::pair().unwrap();
        let job = Job::start(&waker, || Err(io::Error::other("full")));
        wakened.read_exact(&mut [0]).unwrap();
        assert_eq!(job.poll().unwrap().unwrap_err().to_string(), "full");
    }

    #[test]
    fn one_that_breaks_off_counts_as_failed() {
        let (_wakened, waker) = UnixStream::pair().unwrap();
        let job = Job::start(&waker, || panic!("as the test wants"));
        let result = loop {
            if let Some(result) = job.poll() {
                break result;
            }
            thread::yield_now();
        };
        result.unwrap_err();
    }
}

//! Samples, and what is said of them.

use std::time::{Duration, Instant};

/// Times of the same thing done again and again.
#[derive(Default)]
pub struct Samples(Vec<Duration>);

impl Samples {
    pub fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// Take the time of something, and keep it if it counts.
    pub async fn time(&mut self, counts: bool, run: impl AsyncFnOnce()) {
        let start = Instant::now();
        run().await;
        self.keep(counts, start.elapsed());
    }

    /// Keep a time if it counts.
    pub fn keep(&mut self, counts: bool, time: Duration) {
        if counts {
            self.push(time);
        }
    }

    pub fn min(&self) -> Duration {
        self.0.iter().min().copied().unwrap_or_default()
    }

    pub fn median(&self) -> Duration {
        self.quantile(0.5)
    }

    /// What these take longer than the others, of pairs that were taken one after the other: a machine's good and bad
    /// moments are in both.
    pub fn beyond(&self, others: &Self) -> Duration {
        let pairs = self.0.iter().zip(&others.0);
        let more = pairs.map(|(these, those)| these.saturating_sub(*those));
        Self(more.collect()).median()
    }

    pub fn quantile(&self, share: f64) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort();
        let last = sorted.len().saturating_sub(1);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an index"
        )]
        #[expect(clippy::cast_precision_loss, reason = "far fewer samples than 2^52")]
        let index = (last as f64 * share).round() as usize;
        sorted.get(index).copied().unwrap_or_default()
    }
}

/// Time `times` runs, after a tenth as many that are not counted.
pub fn measure(times: usize, mut run: impl FnMut()) -> Samples {
    for _ in 0..times / 10 {
        run();
    }
    let mut samples = Samples::default();
    for _ in 0..times {
        let start = Instant::now();
        run();
        samples.push(start.elapsed());
    }
    samples
}

/// The same for something asynchronous.
pub async fn measure_async<T>(times: usize, mut run: impl AsyncFnMut() -> T) -> Samples {
    for _ in 0..times / 10 {
        std::hint::black_box(run().await);
    }
    let mut samples = Samples::default();
    for _ in 0..times {
        let start = Instant::now();
        std::hint::black_box(run().await);
        samples.push(start.elapsed());
    }
    samples
}

/// In the unit that reads best.
pub fn show(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    if micros < 1.0 {
        format!("{:.0} ns", micros * 1e3)
    } else if micros < 1e3 {
        format!("{micros:.1} µs")
    } else if micros < 1e6 {
        format!("{:.1} ms", micros / 1e3)
    } else {
        format!("{:.2} s", micros / 1e6)
    }
}

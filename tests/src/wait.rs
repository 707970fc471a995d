//! Waiting for a condition. The only place in the tests where time passes on purpose.

use std::time::{Duration, Instant};

/// How long a condition may take on a busy machine before it counts as never.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A short break between two looks.
pub async fn pause() {
    tokio::time::sleep(Duration::from_millis(25)).await;
}

/// Look until there is something to see, and panic when it takes longer than `PATIENCE`.
pub async fn wait_for<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    wait_within(PATIENCE, what, look).await
}

/// The same, with a limit that the condition itself names.
pub async fn wait_within<T>(
    limit: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(
            Instant::now() < deadline,
            "waited {limit:?} in vain for {what}"
        );
        pause().await;
    }
}

/// Let this much time pass, where the moment itself is what a test varies.
pub async fn elapse(time: Duration) {
    tokio::time::sleep(time).await;
}

//! A point at which something is held until a test lets it go on.

use std::sync::Arc;

use tokio::sync::watch;

#[derive(Clone)]
pub struct Gate(Arc<Inner>);

struct Inner {
    at: u64,
    reached: watch::Sender<bool>,
    open: watch::Sender<bool>,
}

impl Gate {
    /// Holds whatever is number `at`, counted from 1.
    pub fn at(at: u64) -> Self {
        Self(Arc::new(Inner {
            at,
            reached: watch::Sender::new(false),
            open: watch::Sender::new(false),
        }))
    }

    pub fn is_at(&self, number: u64) -> bool {
        self.0.at == number
    }

    /// Resolves when something is held here.
    pub async fn reached(&self) {
        wait(&self.0.reached).await;
    }

    pub fn open(&self) {
        self.0.open.send_replace(true);
    }

    pub(super) async fn pass(&self) {
        self.0.reached.send_replace(true);
        wait(&self.0.open).await;
    }
}

async fn wait(flag: &watch::Sender<bool>) {
    // The sender is held by the gate, so this cannot fail.
    let _ = flag.subscribe().wait_for(|set| *set).await;
}

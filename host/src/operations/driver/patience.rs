//! How a driver waits: between attempts, and while a step acts. It keeps the claim meanwhile, and hears of
//! wishes, deadlines and the host's end.

use std::future::{Future, pending};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt;
use jiff::Timestamp;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{error, info, warn};

use super::{Driver, Parted};
use crate::model::OperationStatus;
use crate::operations::clock::backoff;
use crate::operations::journal::Gone;
use crate::operations::plain::plain;
use crate::operations::workflow::{Context, Stop};
use crate::store::repo::Changes;

/// No pause is longer, whatever asked for it.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(60);
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
/// Shorter pauses are waited out here, without a commit; longer ones are stored, and nobody waits.
const PARK_FROM: Duration = Duration::from_secs(2);
/// While others wait for a driver, nobody keeps one to wait with, and nobody is back sooner: what never gets ready must
/// not hold up the rest.
const CROWDED_PAUSE: Duration = Duration::from_millis(500);

/// What came of letting a step act.
pub enum Acted<T> {
    Answered(Result<T, Stop>),
    Overdue,
    Stopping,
}

impl Driver<'_> {
    /// Wait before the next attempt: here when it is short, otherwise in the record.
    pub(super) async fn pause(
        &self,
        context: &Context<'_>,
        after: Option<Duration>,
        why: &str,
    ) -> Result<Option<Parted>, Gone> {
        let why = self.recordable(why).await;
        let operation = self.journal.read().await;
        let mut pause = after
            .unwrap_or_else(|| backoff(context.attempt, LONGEST_PAUSE))
            .clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        let crowded = self.crowded.load(Ordering::Relaxed);
        if crowded {
            pause = pause.max(CROWDED_PAUSE);
        }
        if let (Some(deadline), false) = (
            operation.deadline,
            operation.status == OperationStatus::Unwinding,
        ) && self.config.clock.until(deadline) > Duration::ZERO
        {
            pause = pause.min(self.config.clock.until(deadline));
        }
        if crowded || pause >= PARK_FROM {
            let then = self.config.clock.after(pause);
            info!(step = context.step, "waits until {then}: {why}");
            self.journal
                .release(|operation| {
                    operation.last_error = Some(why.clone());
                    operation.not_before = Some(then);
                })
                .await?;
            return Ok(Some(Parted::Until(then)));
        }
        if operation.last_error.as_deref() != Some(&why) {
            self.journal
                .record(Changes::default(), |operation| {
                    operation.last_error = Some(why.clone());
                })
                .await?;
        }
        self.wait(pause).await?;
        Ok(None)
    }

    pub(super) async fn recordable(&self, why: &str) -> String {
        let mut reason = self.reason.lock().await;
        match reason.as_ref() {
            Some((given, recordable)) if given == why => recordable.clone(),
            Some(_) | None => {
                let recordable = plain(self.repo, self.journal.instance(), why).await;
                *reason = Some((why.to_owned(), recordable.clone()));
                recordable
            }
        }
    }

    /// Until the time is over, the operation is to be undone, or the host stops.
    async fn wait(&self, pause: Duration) -> Result<(), Gone> {
        let end = Instant::now() + pause;
        loop {
            tokio::select! {
                () = sleep_until(end) => return Ok(()),
                () = self.stopping.cancelled() => return Ok(()),
                () = self.poke.notified() => {
                    self.journal.reload().await?;
                    let operation = self.journal.read().await;
                    if operation.cancel_requested && operation.status != OperationStatus::Unwinding {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Let a step act while the claim is kept. Dropping the work is as good as dying in the middle of it.
    pub(super) async fn act<T>(
        &self,
        work: impl Future<Output = Result<T, Stop>>,
        deadline: Option<Timestamp>,
    ) -> Result<Acted<T>, Gone> {
        let overdue = async {
            match deadline {
                Some(deadline) => sleep(self.config.clock.until(deadline)).await,
                None => pending().await,
            }
        };
        let patience = async {
            self.stopping.cancelled().await;
            sleep(self.config.shutdown_grace).await;
        };
        tokio::select! {
            biased;
            answer = AssertUnwindSafe(work).catch_unwind() => {
                Ok(Acted::Answered(answer.unwrap_or_else(|_| {
                    error!("a step panicked");
                    Err(Stop::fail("a defect in Berth interrupted this step"))
                })))
            }
            gone = self.keep_claim() => Err(gone),
            () = overdue => Ok(Acted::Overdue),
            () = patience => Ok(Acted::Stopping),
        }
    }

    /// Renew the claim until that fails.
    async fn keep_claim(&self) -> Gone {
        loop {
            sleep(self.config.lease / 3).await;
            match self.journal.renew().await {
                Ok(()) => {}
                Err(Gone::Lost) => return Gone::Lost,
                Err(Gone::Store(problem)) => {
                    let claim = self.journal.read().await.claim;
                    if claim.is_none_or(|claim| claim.until <= self.config.clock.now()) {
                        return Gone::Store(problem);
                    }
                    warn!(?problem, "cannot renew the claim yet");
                }
            }
        }
    }

    pub(super) async fn let_go(&self) -> Result<Parted, Gone> {
        self.journal.release(|_| {}).await?;
        Ok(Parted::Until(self.config.clock.now()))
    }
}

//! User work under a leadership: begun, asked to end, ended.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use super::error::{BoxError, LeadError};
use super::{Elector, Leadership};
use crate::mutant::{self, Mutant};

/// How a stretch of work ended.
enum Ending {
    /// By itself.
    Returned(Result<(), BoxError>),
    /// It was dropped, since leadership was over.
    Dropped,
}

pub(super) async fn while_leader<F, Fut>(elector: &Elector, mut work: F) -> Result<(), LeadError>
where
    F: FnMut(Leadership) -> Fut,
    Fut: Future<Output = Result<(), BoxError>>,
{
    loop {
        let lead = elector.campaign().await?;
        // `lead` outlives the work in every way out, a panic and a drop of this future included: first the work ends,
        // then the node resigns.
        let ending = run(&lead, work(lead.clone())).await;
        let lost = !lead.is_valid();
        match ending {
            Ending::Returned(Ok(())) if !lost => {
                lead.resign();
                return Ok(());
            }
            Ending::Returned(Err(error)) if !lost => {
                lead.resign();
                return Err(LeadError::Work(error));
            }
            Ending::Returned(Ok(())) | Ending::Dropped => {}
            Ending::Returned(Err(error)) => {
                tracing::info!(target: "hustings::election", %error, "work failed after its leadership was lost");
            }
        }
    }
}

/// Polls the work until it returns or must have ended; it is dropped before this returns.
async fn run(lead: &Leadership, work: impl Future<Output = Result<(), BoxError>>) -> Ending {
    let mut work = pin!(work);
    let mut expired = pin!(lead.expired());
    poll_fn(|context| {
        // The clock is asked as well: a driver that stands still cannot say that the time is up.
        let expired = expired.as_mut().poll(context).is_ready() || lead.has_expired();
        if expired && !mutant::on(Mutant::ExpiredWorkGoesOn) {
            return Poll::Ready(Ending::Dropped);
        }
        work.as_mut().poll(context).map(Ending::Returned)
    })
    .await
}

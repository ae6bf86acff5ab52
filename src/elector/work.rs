//! User work under a leadership: begun, asked to end, ended.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use super::error::{BoxError, LeadError};
use super::inside::Inside;
use super::{Elector, Leadership};
use crate::driver::{Hold, Tenure};
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
    let when = elector.shared.start_when;
    loop {
        // Outlives the work in every way out, a panic and a drop of this future included: first the work ends, then
        // whoever looks is told no, then the node resigns.
        let hold = Hold::of_work(elector.guard(when).await?);
        let tenure = hold.tenure();
        let ending = run(tenure, work(Leadership::view(tenure.clone(), when))).await;
        let lost = !tenure.holds(tenure.office.now());
        drop(hold);
        match ending {
            Ending::Returned(Ok(())) if !lost => return Ok(()),
            Ending::Returned(Err(error)) if !lost => return Err(LeadError::Work(error)),
            Ending::Returned(Ok(())) | Ending::Dropped => {}
            Ending::Returned(Err(error)) => {
                tracing::info!(target: "hustings::election", %error, "work failed after its leadership was lost");
            }
        }
    }
}

/// Polls the work until it returns or must have ended; it is dropped before this returns.
async fn run(tenure: &Arc<Tenure>, work: impl Future<Output = Result<(), BoxError>>) -> Ending {
    let mut work = pin!(work);
    let mut expired = pin!(tenure.office.expired());
    poll_fn(|context| {
        // The clock is asked as well: on a busy machine this turn may come before anybody could say that the time is up.
        let expired = expired.as_mut().poll(context).is_ready() || tenure.office.has_expired();
        if expired && !mutant::on(Mutant::ExpiredWorkGoesOn) {
            return Poll::Ready(Ending::Dropped);
        }
        let _inside = Inside::enter(tenure);
        work.as_mut().poll(context).map(Ending::Returned)
    })
    .await
}

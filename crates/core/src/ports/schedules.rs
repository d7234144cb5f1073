//! Schedules: what doors may ask.

use crate::{
    document::Expect,
    error::Error,
    message::Receipt,
    names::{FunctionKey, Tenant},
    schedule::{Schedule, ScheduleView},
};
use async_trait::async_trait;

/// Keeps schedules and fires them. What an `Ok` acknowledges is on disk.
///
/// A schedule in a function's policy is named `<function>.<schedule>` here, as [`ScheduleView`] says it is one;
/// it is changed by deploying the function, and can be paused, resumed and fired as any other.
#[async_trait]
pub trait Schedules: Send + Sync {
    /// Checks a schedule, as a deploy must before it takes one into a policy.
    ///
    /// # Errors
    /// `XB1012`, saying what is wrong with it.
    fn check(&self, schedule: &Schedule) -> Result<(), Error>;

    /// Makes or changes a schedule.
    ///
    /// # Errors
    /// `XB1012` it makes no sense, `XB2002` no such function, `XB2014` it belongs to a function's policy,
    /// `XB4001` an expectation was not met.
    async fn put(
        &self,
        function: &FunctionKey,
        schedule: Schedule,
        expect: Expect,
    ) -> Result<ScheduleView, Error>;

    /// One schedule.
    async fn get(&self, tenant: &Tenant, name: &str) -> Result<Option<ScheduleView>, Error>;

    /// Schedules, sorted by tenant and name; those of functions' policies included.
    async fn list(&self, tenant: Option<&Tenant>) -> Result<Vec<ScheduleView>, Error>;

    /// Deletes one.
    ///
    /// # Errors
    /// `XB2015` no such schedule, `XB2014` it belongs to a function's policy.
    async fn delete(&self, tenant: &Tenant, name: &str) -> Result<(), Error>;

    /// Stops it from firing, or lets it fire again; what passed meanwhile is not made up for.
    ///
    /// # Errors
    /// `XB2015`.
    async fn pause(&self, tenant: &Tenant, name: &str, paused: bool) -> Result<ScheduleView, Error>;

    /// Fires it now, beside its times.
    ///
    /// # Errors
    /// `XB2015`, and what [`crate::ports::deliveries::Deliveries::submit`] says.
    async fn fire(&self, tenant: &Tenant, name: &str) -> Result<Receipt, Error>;
}

//! Schedules in memory: they never fire by themselves.

use async_trait::async_trait;
use std::{collections::BTreeMap, sync::Mutex};
use xebec_core::{
    Error, FunctionKey, InvocationId, Tenant,
    document::Expect,
    error::ErrorKind,
    message::Receipt,
    ports::schedules::Schedules,
    schedule::{Schedule, ScheduleView, When},
};

/// Schedules in memory.
#[derive(Default)]
pub struct Timetable(pub Mutex<BTreeMap<(Tenant, String), ScheduleView>>);

fn missing(name: &str) -> Error {
    Error::not_found("XB2015", format!("there is no schedule {name:?}"))
}

#[async_trait]
impl Schedules for Timetable {
    /// Of expressions, "never" makes no sense here.
    fn check(&self, schedule: &Schedule) -> Result<(), Error> {
        match &schedule.when {
            When::Cron { cron, .. } if cron == "never" => {
                Err(Error::invalid("XB1012", "cron expression \"never\" makes no sense"))
            }
            _ => Ok(()),
        }
    }

    async fn put(
        &self,
        function: &FunctionKey,
        schedule: Schedule,
        expect: Expect,
    ) -> Result<ScheduleView, Error> {
        self.check(&schedule)?;
        let key = (function.tenant.clone(), schedule.name.to_string());
        let mut all = self.0.lock().unwrap();
        if expect == Expect::Absent && all.contains_key(&key) {
            return Err(Error::new(ErrorKind::Conflict, "XB4001", "it is there already"));
        }
        let view =
            ScheduleView { schedule, function: function.clone(), of_function: false, next: None, last: None };
        all.insert(key, view.clone());
        Ok(view)
    }

    async fn get(&self, tenant: &Tenant, name: &str) -> Result<Option<ScheduleView>, Error> {
        Ok(self.0.lock().unwrap().get(&(tenant.clone(), name.to_owned())).cloned())
    }

    async fn list(&self, tenant: Option<&Tenant>) -> Result<Vec<ScheduleView>, Error> {
        let all = self.0.lock().unwrap();
        let mine = all.iter().filter(|((owner, _), _)| tenant.is_none_or(|tenant| tenant == owner));
        Ok(mine.map(|(_, view)| view.clone()).collect())
    }

    async fn delete(&self, tenant: &Tenant, name: &str) -> Result<(), Error> {
        let gone = self.0.lock().unwrap().remove(&(tenant.clone(), name.to_owned()));
        gone.map(drop).ok_or_else(|| missing(name))
    }

    async fn pause(&self, tenant: &Tenant, name: &str, paused: bool) -> Result<ScheduleView, Error> {
        let mut all = self.0.lock().unwrap();
        let view = all.get_mut(&(tenant.clone(), name.to_owned())).ok_or_else(|| missing(name))?;
        view.schedule.paused = paused;
        Ok(view.clone())
    }

    async fn fire(&self, tenant: &Tenant, name: &str) -> Result<Receipt, Error> {
        self.get(tenant, name).await?.ok_or_else(|| missing(name))?;
        Ok(Receipt { id: InvocationId::new(), duplicate: false })
    }
}

//! `POST /system/alert`: scaling as Prometheus' Alertmanager asks for it.

use super::{Refusal, SystemCall, parse, read};
use crate::{
    OpenFaas, errors,
    names::{FUNCTION_SPACE, split_qualified, tenant_of},
    translate::steps,
    wire::{Alert, AlertWebhook},
};
use http::{Response, StatusCode};
use xebec_core::{Body, Error, names::Address};

impl OpenFaas {
    /// Every alert is acted on, whatever becomes of the others.
    pub(super) async fn alert(&self, call: &SystemCall<'_>, body: Body) -> Result<Response<Body>, Refusal> {
        let bytes = read(body).await?;
        let webhook: AlertWebhook = parse(&bytes)?;
        let mut faults = Vec::new();
        for alert in &webhook.alerts {
            let status = if alert.status.is_empty() { &webhook.status } else { &alert.status };
            if let Err(error) = self.act_on(call, alert, status).await {
                faults.push(format!("{:?}: {error} [{}]", alert.function_name(), error.code));
            }
        }
        Ok(if faults.is_empty() { errors::empty(StatusCode::OK) } else { errors::alerts(&faults) })
    }

    /// Scales a function up by its step while an alert fires, and back to its least when that is over. Either
    /// is where scaling by load goes on from: it never takes an instance from calls that need it.
    async fn act_on(&self, call: &SystemCall<'_>, alert: &Alert, status: &str) -> Result<(), Error> {
        let qualified = alert.function_name();
        let (name, namespace) = split_qualified(qualified)
            .ok_or_else(|| Error::invalid("XB1004", "labels.function_name is not the name of a function"))?;
        let tenant = tenant_of(namespace);
        if !call.principal.may_manage(&tenant) {
            let message = format!("these credentials may not manage namespace {namespace}");
            return Err(Error::new(xebec_core::ErrorKind::Forbidden, "XB5003", message));
        }
        let function = self
            .control
            .at(&Address::new(FUNCTION_SPACE, &tenant, name))
            .and_then(|key| self.control.function(&key))
            .ok_or_else(|| Error::not_found("XB2002", "no such function"))?;
        let wanted = match status {
            "firing" => steps::up(&function)?,
            "resolved" => steps::down(&function)?,
            other => {
                let fault = format!("status: {other:?} is neither firing nor resolved");
                return Err(Error::invalid("XB1004", fault));
            }
        };
        match wanted {
            Some(instances) => self.control.scale(&function.function.key, instances).await,
            None => Ok(()),
        }
    }
}

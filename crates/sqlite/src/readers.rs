//! The connections that read.

use crate::{Fault, Options, connection, fault::busy};
use parking_lot::Mutex;
use rusqlite::Connection;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};
use xebec_core::Error;

const DOING: &str = "read from storage";

/// A few connections; whoever reads takes one to a blocking thread and brings it back.
pub(crate) struct Readers {
    idle: Arc<Idle>,
    free: Arc<Semaphore>,
    deadline: Duration,
}

struct Idle {
    path: PathBuf,
    connections: Mutex<Vec<Connection>>,
}

/// A connection on loan: it goes back even where the reading panics.
struct Loan {
    idle: Arc<Idle>,
    connection: Option<Connection>,
}

impl Drop for Loan {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.idle.connections.lock().push(connection);
        }
    }
}

impl Readers {
    pub(crate) fn open(path: &Path, options: Options) -> Result<Self, Fault> {
        let connections =
            (0..options.readers.max(1)).map(|_| connection::reader(path)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            free: Arc::new(Semaphore::new(connections.len())),
            idle: Arc::new(Idle { path: path.to_owned(), connections: Mutex::new(connections) }),
            deadline: options.deadline,
        })
    }

    pub(crate) fn read_now<T>(&self, read: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, Error> {
        snapshot(Arc::clone(&self.idle), read).map_err(|fault| fault.into_error(DOING))
    }

    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Error> {
        let deadline = Instant::now() + self.deadline;
        let permit = match timeout_at(deadline, Arc::clone(&self.free).acquire_owned()).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) | Err(_) => return Err(busy(DOING)),
        };
        let idle = Arc::clone(&self.idle);
        let reading = tokio::task::spawn_blocking(move || {
            // Declared first, dropped last: the permit is given back after the connection.
            let _permit = permit;
            snapshot(idle, read).map_err(|fault| fault.into_error(DOING))
        });
        match timeout_at(deadline, reading).await {
            Ok(Ok(result)) => result,
            Ok(Err(stopped)) => Err(Error::internal("XB4003", format!("could not {DOING}: {stopped}"))),
            Err(_) => Err(busy(DOING)),
        }
    }
}

fn snapshot<T>(idle: Arc<Idle>, read: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, Fault> {
    let taken = idle.connections.lock().pop();
    let connection = match taken {
        Some(connection) => connection,
        None => connection::reader(&idle.path)?,
    };
    let loan = Loan { idle, connection: Some(connection) };
    let Some(connection) = &loan.connection else { unreachable!("taken only when the loan ends") };
    let transaction = connection.unchecked_transaction()?;
    let result = read(&transaction);
    drop(transaction);
    result
}

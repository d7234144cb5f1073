//! Preparing revisions: all that a start must not wait for.

use crate::{
    archive::{self, UnpackError},
    dependencies,
    driver::Inner,
    prepared::{Record, publish, settle, storage},
    runtimes,
};
use bytes::Bytes;
use std::path::PathBuf;
use xebec_core::{
    Digest, Error,
    ports::driver::Prepare,
    workload::{ArchiveFormat, Workload},
};

impl Inner {
    /// Unpacks the code, installs what it depends on, and notes where both are.
    pub(crate) async fn prepare(&self, request: Prepare<'_>) -> Result<(), Error> {
        let Prepare { revision, environment, code, progress } = request;
        let spec = &revision.spec;
        let argv = if spec.command.is_empty() { &environment.command } else { &spec.command };
        let programs = self.programs_of(environment, argv).await?;
        for program in &programs {
            runtimes::compile(&self.runtimes, program).await;
        }
        if self.prepared.read(&revision.digest).is_some() {
            return Ok(());
        }
        let mut record = Record::default();
        if let Workload::Code { archive, format, .. } = &spec.workload {
            let code = code.ok_or_else(|| Error::internal("XB3002", "the code to prepare is missing"))?;
            progress.step("unpacking the code");
            let name = code_name(archive, *format);
            let directory = self.unpack(&name, *format, code).await?;
            let steps = if spec.as_is { &[] } else { environment.build.as_slice() };
            dependencies::make_mount_points(&directory, steps)
                .map_err(|error| storage("make room for dependencies", &error))?;
            let what =
                dependencies::Code { directory: &directory, name: &name, handler: spec.handler.as_deref() };
            for step in steps {
                let before = &record.dependencies;
                let installed =
                    dependencies::install(self, environment, step, &what, before, &programs, progress)
                        .await?;
                let seen = installed.filter(|it| dependencies::has_mount_point(&directory, &it.mount));
                record.dependencies.extend(seen);
            }
            record.code = Some(name);
        }
        let written = self.prepared.write(&revision.digest, &record);
        written.map_err(|error| storage("keep what was prepared", &error))
    }

    /// Unpacks an archive unless that was done before; returns where it is.
    async fn unpack(&self, name: &str, format: ArchiveFormat, code: Bytes) -> Result<PathBuf, Error> {
        let place = self.prepared.code(name);
        let _lock = self.prepared.lock(&place).await;
        if place.is_dir() {
            return Ok(place);
        }
        let work = self.prepared.work().map_err(|error| storage("make a directory to unpack in", &error))?;
        let limits = self.options.unpack_limits;
        let to = place.clone();
        let unpacked = tokio::task::spawn_blocking(move || {
            let made = work.path().join("code");
            std::fs::create_dir(&made).map_err(UnpackError::Disk)?;
            archive::unpack(&code, format, &made, limits)?;
            publish(&made).and_then(|()| settle(&made, &to)).map_err(UnpackError::Disk)
        });
        match unpacked.await {
            Ok(Ok(())) => Ok(place),
            Ok(Err(UnpackError::Disk(error))) => Err(storage("unpack the code", &error)),
            Ok(Err(error)) => Err(Error::invalid("XB3002", error.to_string())),
            Err(_) => Err(Error::internal("XB4003", "the task that unpacks code was lost")),
        }
    }
}

/// The directory of a blob's files. Any bytes are a single file, and a zip may have anything before it: the same
/// blob can be read in more than one way.
fn code_name(archive: &Digest, format: ArchiveFormat) -> String {
    let digest = archive.hex();
    match format {
        ArchiveFormat::Zip => format!("{digest}-zip"),
        ArchiveFormat::Single => format!("{digest}-single"),
        _ => digest,
    }
}

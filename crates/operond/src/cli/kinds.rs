//! `kinds list`, `kinds get`, `kinds set`.

use std::time::Duration;

use anyhow::Result;
use futures::TryStreamExt;
use operond_client::Error;
use operond_client::proto::{Kind, Retention};
use operond_server::json::Types;

use super::args::{self, Format};
use super::exit::{Exit, Usage};
use super::{connect, print, text};

pub(super) async fn list(args: args::ListKinds) -> Result<Exit> {
    let kinds: Vec<Kind> = connect(&args.server)?.list_all_kinds().try_collect().await?;
    print(&shown(args.printing.output, &kinds)?)?;
    Ok(Exit::Success)
}

pub(super) async fn get(args: args::GetKind) -> Result<Exit> {
    let kind = connect(&args.server)?.get_kind(&args.name).await?;
    print(&shown(args.printing.output, &[kind])?)?;
    Ok(Exit::Success)
}

pub(super) async fn set(args: args::SetKind) -> Result<Exit> {
    let client = connect(&args.server)?;
    let before = match client.get_kind(&args.name).await {
        Ok(kind) if args.anew => Kind { name: kind.name, version: kind.version, ..Kind::default() },
        Ok(kind) => kind,
        Err(Error::NotFound { .. }) => Kind { name: args.name.clone(), ..Kind::default() },
        Err(error) => return Err(error.into()),
    };
    let kind = client.update_kind(changed(before, &args)?).await?;
    print(&shown(args.printing.output, &[kind])?)?;
    Ok(Exit::Success)
}

/// `kind` with what the command line says.
fn changed(kind: Kind, args: &args::SetKind) -> Result<Kind> {
    let retention = kind.retention.unwrap_or_default();
    let retention = Retention {
        succeeded: length(args.keep_succeeded)?.or(retention.succeeded),
        failed: length(args.keep_failed)?.or(retention.failed),
        cancelled: length(args.keep_cancelled)?.or(retention.cancelled),
    };
    Ok(Kind {
        description: args.description.clone().unwrap_or(kind.description),
        cancellable: args.cancellable.or(kind.cancellable),
        clean_up_on_cancel: args.clean_up_on_cancel.or(kind.clean_up_on_cancel),
        queue_timeout: length(args.queue_timeout)?.or(kind.queue_timeout),
        run_timeout: length(args.run_timeout)?.or(kind.run_timeout),
        max_attempts: args.max_attempts.or(kind.max_attempts),
        cancel_grace: length(args.cancel_grace)?.or(kind.cancel_grace),
        retention: Some(retention).filter(|retention| *retention != Retention::default()),
        response_type: args.response_type.clone().or(kind.response_type),
        metadata_type: args.metadata_type.clone().or(kind.metadata_type),
        name: kind.name,
        version: kind.version,
        modified_at: None,
    })
}

/// A length of time as the wire has it.
fn length<T>(length: Option<Duration>) -> Result<Option<T>, Usage>
where
    Duration: TryInto<T>,
{
    let convert = |length: Duration| length.try_into().map_err(|_| Usage(format!("{length:?} is too long")));
    length.map(convert).transpose()
}

fn shown(format: Format, kinds: &[Kind]) -> Result<String> {
    let list = |kind: &Kind| {
        Ok(text::Listed {
            name: kind.name.clone(),
            json: Types::builtin().to_json(kind)?,
            cells: [kind.name.clone(), kind.version.to_string(), said(kind)],
        })
    };
    let kinds = kinds.iter().map(list).collect::<Result<Vec<_>>>()?;
    Ok(text::listed(format, ["KIND", "VERSION", "DEFAULTS"], &kinds))
}

/// What a kind says, in the words of the command line.
fn said(kind: &Kind) -> String {
    let retention = kind.retention.unwrap_or_default();
    let said = [
        ("cancellable", kind.cancellable.map(|said| said.to_string())),
        ("clean-up-on-cancel", kind.clean_up_on_cancel.map(|said| said.to_string())),
        ("queue-timeout", kind.queue_timeout.map(|time| time.to_string())),
        ("run-timeout", kind.run_timeout.map(|time| time.to_string())),
        ("max-attempts", kind.max_attempts.map(|said| said.to_string())),
        ("cancel-grace", kind.cancel_grace.map(|time| time.to_string())),
        ("keep-succeeded", retention.succeeded.map(|time| time.to_string())),
        ("keep-failed", retention.failed.map(|time| time.to_string())),
        ("keep-cancelled", retention.cancelled.map(|time| time.to_string())),
        ("response-type", kind.response_type.clone()),
        ("metadata-type", kind.metadata_type.clone()),
    ];
    let said = said.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?)));
    said.collect::<Vec<_>>().join(" ")
}

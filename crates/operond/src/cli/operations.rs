//! `create`, `get`, `list`, `watch`, `cancel`, `delete`.

use std::collections::HashMap;
use std::io::Read;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt};
use operond_client::{Any, Client, ListOptions, NewOperation, Operation, json};

use super::args::{self, Format};
use super::exit::{Exit, Usage};
use super::{connect, print, text, types, wait};

pub(super) async fn create(args: args::Create) -> Result<Exit> {
    let client = connect(&args.server)?;
    let mut operation = NewOperation::new(&args.kind).description(args.description);
    if let Some(source) = &args.input {
        operation = operation.input(input(source)?);
    }
    if let Some(tenant) = args.tenant {
        operation = operation.tenant(tenant);
    }
    for (name, value) in args.labels {
        operation = operation.label(name, value);
    }
    if let Some(key) = args.idempotency_key {
        operation = operation.idempotency_key(key);
    }
    let created = client.create(operation).await?;
    if !args.wait {
        print_one(&client, args.printing.output, &created).await?;
        return Ok(Exit::Success);
    }
    // Before the wait: who interrupts it needs the id.
    eprintln!("created {}", text::escape(&created.id));
    wait::wait_for(&client, &[created.id], None, args.printing.output, &args.server).await
}

pub(super) async fn get(args: args::Get) -> Result<Exit> {
    let client = connect(&args.server)?;
    let operation = if args.full { client.get_full(&args.id).await? } else { client.get(&args.id).await? };
    print_one(&client, args.printing.output, &operation).await?;
    Ok(Exit::Success)
}

/// Prints an operation, its payloads by what the server knows.
async fn print_one(client: &Client, format: Format, operation: &Operation) -> Result<()> {
    let types = types::of(client, format, std::slice::from_ref(operation)).await;
    print(&text::one(format, operation, &types))
}

pub(super) async fn list(args: args::List) -> Result<Exit> {
    let limit = if args.limit == 0 { usize::MAX } else { args.limit };
    let page_size = u16::try_from(limit.min(PAGE_SIZE_MAX)).ok();
    let options = ListOptions { filter: args.filter, oldest_first: args.oldest_first, page_size };
    let client = connect(&args.server)?;
    if args.count {
        let counted = client.count(&options.filter).await?;
        if counted.more {
            eprintln!("there may be more: the server counts no further");
        }
        print(&format!("{}\n", counted.count))?;
        return Ok(Exit::Success);
    }
    if args.watch {
        return tokio::select! {
            failed = watch_list(&client, &options, limit, args.printing.output) => failed.map(|never| match never {}),
            interrupted = tokio::signal::ctrl_c() => interrupted.map(|()| Exit::Interrupted).map_err(Into::into),
        };
    }
    let operations = client.list_all(options).take(limit);
    match args.printing.output {
        // These need no more than one operation at a time.
        format @ (Format::Jsonl | Format::Id) => {
            // What came together is printed together: its types are asked for once.
            let mut together = pin!(operations.ready_chunks(PAGE_SIZE_MAX));
            while let Some(answers) = together.next().await {
                let (mut operations, mut failed) = (Vec::new(), None);
                for answer in answers {
                    match answer {
                        Ok(operation) => operations.push(operation),
                        Err(error) => failed = Some(error),
                    }
                }
                print(&text::many(format, &operations, &types::of(&client, format, &operations).await))?;
                if let Some(error) = failed {
                    return Err(error.into());
                }
            }
        }
        format @ (Format::Table | Format::Json) => {
            let operations: Vec<Operation> = operations.try_collect().await?;
            print(&text::many(format, &operations, &types::of(&client, format, &operations).await))?;
            if operations.len() == limit {
                eprintln!("these are {limit}; --limit asks for more");
            }
        }
    }
    Ok(Exit::Success)
}

/// Prints the list, the end of it last, and again what has come or changed in it since.
async fn watch_list(
    client: &Client,
    options: &ListOptions,
    limit: usize,
    format: Format,
) -> Result<std::convert::Infallible> {
    let mut shown = HashMap::new();
    loop {
        let mut operations: Vec<Operation> = client.list_all(options.clone()).take(limit).try_collect().await?;
        if !options.oldest_first {
            operations.reverse();
        }
        for operation in operations.iter().filter(|now| shown.get(&now.id) != Some(&now.modified_at)) {
            print_changed(client, format, operation).await?;
        }
        shown = operations.into_iter().map(|operation| (operation.id, operation.modified_at)).collect();
        tokio::time::sleep(LIST_AGAIN).await;
    }
}

/// Prints an operation as it is now, on one line.
async fn print_changed(client: &Client, format: Format, operation: &Operation) -> Result<()> {
    match format {
        Format::Table => print(&format!("{}  {}\n", text::escape(&operation.id), text::status(operation))),
        Format::Json | Format::Jsonl => print_one(client, Format::Jsonl, operation).await,
        Format::Id => print_one(client, Format::Id, operation).await,
    }
}

pub(super) async fn watch(args: args::Watch) -> Result<Exit> {
    let client = connect(&args.server)?;
    let mut changes = pin!(client.watch(&args.id, None, OUTAGE));
    loop {
        let change = tokio::select! {
            change = changes.next() => change,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                return Ok(Exit::Interrupted);
            }
        };
        let Some(operation) = change.transpose()? else { return Ok(Exit::Success) };
        print_changed(&client, args.printing.output, &operation).await?;
    }
}

pub(super) async fn cancel(args: args::Cancel) -> Result<Exit> {
    let client = connect(&args.server)?;
    let operation = client.cancel(&args.id, &args.reason).await?;
    print_one(&client, args.printing.output, &operation).await?;
    Ok(Exit::Success)
}

pub(super) async fn delete(args: args::Delete) -> Result<Exit> {
    let client = connect(&args.server)?;
    for id in &args.ids {
        client.delete(id).await.with_context(|| format!("cannot delete {}", text::escape(id)))?;
        eprintln!("deleted {}", text::escape(id));
    }
    Ok(Exit::Success)
}

/// What `--input` says: JSON, `@FILE` with JSON in it, or `-` for JSON on stdin.
fn input(source: &str) -> Result<Any> {
    let (from, text) = match source.strip_prefix('@') {
        None if source == "-" => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("cannot read stdin")?;
            ("stdin", text)
        }
        None => ("--input", source.to_owned()),
        Some(path) => (path, std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?),
    };
    let parsed = serde_json::from_str(&text).map_err(|error| Usage(format!("{from} is not JSON: {error}")))?;
    Ok(json::any_from_json(parsed).map_err(|problem| Usage(format!("{from}: {problem}")))?)
}

/// How long a list that is watched stands before it is read again.
const LIST_AGAIN: Duration = Duration::from_secs(1);
/// How long a watch rides out that nobody answers.
const OUTAGE: Duration = Duration::from_secs(60);
const PAGE_SIZE_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use operond_client::payload;
    use serde_json::json;

    use super::*;

    #[test]
    fn input_is_json_or_a_file_with_json() {
        assert_eq!(input(r#"{"pages": 3}"#).unwrap(), payload::from_json(json!({"pages": 3})));
        assert_eq!(input("-1").unwrap(), payload::from_json(json!(-1)));
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"[1]\n").unwrap();
        assert_eq!(input(&format!("@{}", file.path().display())).unwrap(), payload::from_json(json!([1])));
    }

    #[test]
    fn input_that_is_no_json_is_a_usage_error_that_names_its_source() {
        let error = input("{pages: 3}").unwrap_err();
        assert!(error.to_string().starts_with("--input is not JSON: "), "{error}");
        assert_eq!(Exit::of_error(&error), Exit::Usage);
        let error = input("@/nonexistent/input.json").unwrap_err();
        assert_eq!(error.to_string(), "cannot read /nonexistent/input.json");
        let error = input(r#"{"@type": "nonsense"}"#).unwrap_err();
        assert_eq!(Exit::of_error(&error), Exit::Usage);
    }
}

//! `wait` and `create --wait`.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use operond_client::{Client, Error, Operation, State, WaitEvent};
use operond_server::json::Types;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::args::{self, ENDPOINT_DEFAULT, Format};
use super::exit::Exit;
use super::meter::{Meter, fraction};
use super::{connect, print, text, types};

pub(super) async fn wait(args: args::Wait) -> Result<Exit> {
    let client = connect(&args.server)?;
    wait_for(&client, &args.ids, args.timeout, args.printing.output, &args.server).await
}

/// Waits for all of them, prints each at its end, and tells the worst end.
pub(super) async fn wait_for(
    client: &Client,
    ids: &[String],
    timeout: Option<Duration>,
    format: Format,
    server: &args::Server,
) -> Result<Exit> {
    let display = Arc::new(Display::new(std::io::stderr().is_terminal()));
    let mut waits = JoinSet::new();
    for id in ids {
        let prefix = if ids.len() == 1 { String::new() } else { format!("{}  ", text::escape(id)) };
        waits.spawn(wait_one(client.clone(), id.clone(), timeout, Arc::clone(&display), prefix));
    }
    let resume = resume(ids, server);
    let mut exit = Exit::Success;
    let mut gave_up = false;
    loop {
        let ended = tokio::select! {
            ended = waits.join_next() => ended,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                display.clear();
                eprintln!("stopped waiting; the operation goes on. To wait again: {resume}");
                return Ok(Exit::Interrupted);
            }
        };
        match ended.transpose()? {
            None => break,
            Some((_, Ok(operation))) => {
                exit = exit.worse(Exit::of_operation(&operation));
                gave_up |= !operation.done;
                let types = types::of(client, format, std::slice::from_ref(&operation)).await;
                display.suspend(|| print(&ended_text(format, &operation, &types)))?;
            }
            // The only one: its error is the error of the command.
            Some((_, Err(error))) if ids.len() == 1 => return Err(error.into()),
            Some((id, Err(error))) => {
                let error = anyhow::Error::from(error);
                exit = exit.worse(Exit::of_error(&error));
                display.say(&format!("{}: {}", text::escape(&id), text::escape(&error.to_string())));
            }
        }
    }
    if gave_up {
        eprintln!("gave up waiting; the operation goes on. To wait again: {resume}");
    }
    Ok(exit)
}

async fn wait_one(
    client: Client,
    id: String,
    timeout: Option<Duration>,
    display: Arc<Display>,
    prefix: String,
) -> (String, Result<Operation, Error>) {
    let mut view = View::new(display, prefix);
    let mut wait = client.wait(&id).on_event(|event| view.tell(&event));
    if let Some(timeout) = timeout {
        wait = wait.timeout(timeout);
    }
    let ended = wait.await;
    (id, ended)
}

/// How it ended. A table would be all header.
fn ended_text(format: Format, operation: &Operation, types: &Types) -> String {
    match format {
        Format::Table if operation.done => text::one(Format::Table, operation, types),
        Format::Table => format!("{}  {}\n", text::escape(&operation.id), text::status(operation)),
        format => text::one(format, operation, types),
    }
}

/// The command that waits for the same again.
fn resume(ids: &[String], server: &args::Server) -> String {
    let mut command = "operond wait".to_owned();
    for id in ids {
        command.push(' ');
        command.push_str(&text::escape(id));
    }
    if server.endpoint != ENDPOINT_DEFAULT {
        command.push_str(&format!(" --endpoint {}", text::escape(&server.endpoint)));
    }
    for (option, file) in [("--ca", &server.ca), ("--cert", &server.cert), ("--key", &server.key)] {
        if let Some(file) = file {
            command.push_str(&format!(" {option} {}", text::escape(&file.display().to_string())));
        }
    }
    // The file may be told, and the credential itself never.
    if let Some(args::Secret(token)) = server.token.as_ref().filter(|args::Secret(token)| token.starts_with('@')) {
        command.push_str(&format!(" --token {}", text::escape(token)));
    }
    command
}

/// What the waits share: the terminal, or stderr.
struct Display {
    bars: Option<MultiProgress>,
}

impl Display {
    fn new(is_terminal: bool) -> Self {
        Self { bars: is_terminal.then(MultiProgress::new) }
    }

    /// A line that stays.
    fn say(&self, line: &str) {
        self.suspend(|| eprintln!("{line}"));
    }

    /// Does something to the terminal while no bar is in the way.
    fn suspend<T>(&self, action: impl FnOnce() -> T) -> T {
        match &self.bars {
            Some(bars) => bars.suspend(action),
            None => action(),
        }
    }

    fn clear(&self) {
        if let Some(bars) = &self.bars {
            // A terminal that is gone needs no tidying.
            _ = bars.clear();
        }
    }
}

/// One operation, as it is shown while it is waited for.
struct View {
    display: Arc<Display>,
    bar: Option<ProgressBar>,
    meter: Meter,
    /// The last line said.
    said: String,
    /// The server is away, and that has been said.
    away: bool,
    unattended_said: bool,
}

impl View {
    /// `prefix` tells this bar from the others.
    fn new(display: Arc<Display>, prefix: String) -> Self {
        let bar = display.bars.as_ref().map(|bars| {
            let bar = bars.add(ProgressBar::new(BAR_STEPS).with_style(style(WITHOUT_BAR)).with_prefix(prefix));
            bar.enable_steady_tick(TICK);
            bar
        });
        Self { display, bar, meter: Meter::default(), said: String::new(), away: false, unattended_said: false }
    }

    fn tell(&mut self, event: &WaitEvent<'_>) {
        match event {
            WaitEvent::Changed(operation) => self.changed(operation),
            WaitEvent::Lost(error) if !self.away => {
                self.away = true;
                self.display.say(&format!("{}; waiting for it to come back", text::escape(&error.to_string())));
            }
            WaitEvent::Back if self.away => {
                self.away = false;
                self.display.say("the server is back");
            }
            _ => {}
        }
    }

    fn changed(&mut self, operation: &Operation) {
        if let Some(note) = unattended(operation).filter(|_| !self.unattended_said) {
            self.unattended_said = true;
            self.display.say(&note);
        }
        let status = text::status(operation);
        match &self.bar {
            None => {
                let line = format!("{}  {status}", text::escape(&operation.id));
                if line != self.said {
                    eprintln!("{line}");
                    self.said = line;
                }
            }
            Some(bar) if operation.done => bar.finish_and_clear(),
            Some(bar) => {
                let told = operation.progress.clone().unwrap_or_default();
                let speed = self.meter.measure(Instant::now(), &told);
                bar.set_message(if speed.is_empty() { status } else { format!("{status}  {speed}") });
                if let Some(fraction) = fraction(&told) {
                    bar.set_style(style("{spinner} {prefix}{bar:16} {wide_msg}"));
                    bar.set_position((fraction * BAR_STEPS as f64) as u64);
                } else {
                    bar.set_style(style(WITHOUT_BAR));
                }
            }
        }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// What to say about an operation that nobody works for.
fn unattended(operation: &Operation) -> Option<String> {
    (operation.unattended && operation.state() == State::Queued).then(|| {
        let kind = text::escape(&operation.kind);
        format!("no worker has asked for {kind} lately; this makes one: operond worker exec --kind {kind} -- PROGRAM")
    })
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates of this file are valid")
}

const WITHOUT_BAR: &str = "{spinner} {prefix}{wide_msg}";
const BAR_STEPS: u64 = 1_000;
const TICK: Duration = Duration::from_millis(120);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_wait_again_names_what_is_not_default() {
        let server = |endpoint: &str, [ca, cert, key]: [Option<&str>; 3]| args::Server {
            endpoint: endpoint.into(),
            ca: ca.map(Into::into),
            token: Some("opk_secret".into()),
            cert: cert.map(Into::into),
            key: key.map(Into::into),
        };
        let ids = ["op1".to_owned(), "op2".to_owned()];
        assert_eq!(resume(&ids, &server(ENDPOINT_DEFAULT, [None; 3])), "operond wait op1 op2");
        assert_eq!(
            resume(&ids[..1], &server("https://h:1", [Some("ca.pem"), Some("c"), Some("k")])),
            "operond wait op1 --endpoint https://h:1 --ca ca.pem --cert c --key k"
        );
        let in_file = args::Server { token: Some("@key".into()), ..server(ENDPOINT_DEFAULT, [None; 3]) };
        assert_eq!(resume(&ids[..1], &in_file), "operond wait op1 --token @key");
    }

    #[test]
    fn only_a_queued_operation_can_lack_a_worker() {
        let operation = |state: State, unattended| Operation {
            kind: "shout".into(),
            state: state.into(),
            unattended,
            ..Operation::default()
        };
        let note = unattended(&operation(State::Queued, true)).unwrap();
        assert!(note.starts_with("no worker has asked for shout lately"), "{note}");
        assert_eq!(unattended(&operation(State::Queued, false)), None);
        assert_eq!(unattended(&operation(State::Cancelling, true)), None);
    }
}

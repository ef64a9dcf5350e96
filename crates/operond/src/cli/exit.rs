//! How the process ends, for scripts.

use std::process::ExitCode;

use operond_client::{Code, Error, Operation, State};

use super::text;

/// An exit code; the numbers are part of the command line's contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Success = 0,
    /// The operation failed, or what was asked for was refused.
    Failed = 1,
    /// The command line, or what it says, is wrong.
    Usage = 2,
    /// The operation was cancelled.
    Cancelled = 3,
    /// There is no such operation, or not any more.
    NotFound = 4,
    Unreachable = 5,
    /// The time to wait was over.
    GaveUp = 124,
    /// Ctrl-C.
    Interrupted = 130,
}

impl Exit {
    /// How a wait ends that got this.
    pub(crate) fn of_operation(operation: &Operation) -> Self {
        match operation.state() {
            _ if !operation.done => Self::GaveUp,
            State::Succeeded => Self::Success,
            State::Cancelled => Self::Cancelled,
            _ => Self::Failed,
        }
    }

    /// How a command ends that failed so.
    pub(crate) fn of_error(error: &anyhow::Error) -> Self {
        if error.is::<Usage>() {
            return Self::Usage;
        }
        match error.downcast_ref::<Error>() {
            Some(Error::NotFound { .. }) => Self::NotFound,
            Some(Error::Unreachable { .. }) => Self::Unreachable,
            Some(Error::Endpoint { .. }) => Self::Usage,
            Some(Error::Rejected(rejection)) if rejection.code == Code::InvalidArgument => Self::Usage,
            _ => Self::Failed,
        }
    }

    /// Of two ends the one to tell: what keeps the answer from being known comes before a bad answer.
    pub(crate) fn worse(self, other: Self) -> Self {
        let rank = |exit| match exit {
            Self::Success => 0,
            Self::Cancelled => 1,
            Self::Failed => 2,
            Self::GaveUp => 3,
            Self::NotFound => 4,
            Self::Usage => 5,
            Self::Unreachable => 6,
            Self::Interrupted => 7,
        };
        if rank(other) > rank(self) { other } else { self }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What was said on the command line cannot be used.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// A server that was asked did not answer; why is in the [`Error`] beneath.
#[derive(Debug)]
pub(crate) struct NoAnswer {
    pub(crate) endpoint: String,
}

impl std::fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "no answer from {}", self.endpoint)
    }
}

/// What to do about an error, where that is not plain from the error itself.
pub(crate) fn advice(error: &anyhow::Error) -> Option<String> {
    let asked = error.downcast_ref::<NoAnswer>().map_or("", |asked| &asked.endpoint);
    let advice = match error.downcast_ref::<Error>()? {
        Error::Unreachable { reason: None, message, .. } => return Some(to_reach(asked, message)),
        Error::Rejected(rejection) if rejection.code == Code::Unauthenticated => {
            match rejection.message.contains(NONE_SENT) {
                true => {
                    "--token (or OPEROND_TOKEN) says who you are; the first key is in the file that `operond serve` named"
                }
                false => "--token (or OPEROND_TOKEN) says who you are",
            }
        }
        Error::Rejected(rejection) if rejection.code == Code::PermissionDenied => {
            "`operond whoami` says who you are and what you may do; an admin can make a key that may do more"
        }
        _ => return None,
    };
    Some(advice.to_owned())
}

/// What to do where no server has answered at `endpoint`, for the reason that is said.
fn to_reach(endpoint: &str, message: &str) -> String {
    let has = |words: &[&str]| words.iter().any(|words| message.contains(words));
    let other = |scheme: &str| text::escape(&format!("{scheme}{}", endpoint.split_once("://").unwrap_or_default().1));
    let advice = match endpoint.starts_with("http://") {
        // What a server sends that speaks TLS makes no sense here, if anything comes before it hangs up.
        true if has(ENDED) || has(&["frame with invalid size"]) => {
            return format!("the server may speak TLS: try {}", other("https://"));
        }
        false if has(&["InvalidContentType"]) => {
            return format!("the server does not speak TLS there: use {}", other("http://"));
        }
        _ if has(&["UnknownIssuer"]) => {
            "--ca FILE names an authority to trust; `operond dev` keeps its own in operond-data/ca.pem"
        }
        // Over TLS 1.3 a server refuses a certificate, or the lack of one, when the client takes itself for connected;
        // whether its reason is heard is a matter of luck.
        _ if has(ENDED) => {
            "a server may ask for a certificate of an authority it knows: --cert FILE and --key FILE show yours"
        }
        _ => "is the server running, and is --endpoint (or OPEROND_ENDPOINT) right? `operond dev` starts one",
    };
    advice.to_owned()
}

/// What is said of a connection that was there.
const ENDED: &[&str] = &["fatal alert", "connection closed", "reset by peer", "roken pipe"];

/// What a server says of a call that came without a credential.
const NONE_SENT: &str = "send an API key or a token";

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    fn operation(done: bool, state: State) -> Operation {
        Operation { done, state: state.into(), ..Operation::default() }
    }

    #[test]
    fn a_wait_exits_by_how_the_operation_ended() {
        let check = |done, state, code| assert_eq!(Exit::of_operation(&operation(done, state)) as u8, code);
        check(true, State::Succeeded, 0);
        check(true, State::Failed, 1);
        check(true, State::Cancelled, 3);
        check(false, State::Running, 124);
        check(false, State::Failing, 124);
        check(false, State::Cancelling, 124);
    }

    #[test]
    fn errors_exit_by_what_to_do_about_them() {
        let check = |error: anyhow::Error, code| assert_eq!(Exit::of_error(&error) as u8, code, "{error}");
        let unreachable = || Error::Unreachable { reason: None, message: "refused".into(), retry_after: None };
        check(Error::NotFound { reason: "EXPIRED".into(), message: "expired".into() }.into(), 4);
        check(unreachable().into(), 5);
        check(anyhow::Error::from(unreachable()).context("creating the operation"), 5);
        check(Error::Endpoint { endpoint: "x".into(), problem: "y".into() }.into(), 2);
        check(Usage("the input is no JSON".into()).into(), 2);
        let missing = std::fs::read("/nonexistent").context("reading it").unwrap_err();
        check(missing, 1);
    }

    #[test]
    fn of_many_ends_the_worst_is_told() {
        let all = [Exit::Success, Exit::Cancelled, Exit::Failed, Exit::GaveUp, Exit::NotFound, Exit::Unreachable];
        for (index, worse) in all.iter().enumerate() {
            for better in &all[..=index] {
                assert_eq!(better.worse(*worse), *worse);
                assert_eq!(worse.worse(*better), *worse);
            }
        }
    }

    #[test]
    fn advice_is_given_only_where_it_helps() {
        let advised = |endpoint: &str, message: &str, reason: Option<&str>| {
            let reason = reason.map(Into::into);
            let error: anyhow::Error = Error::Unreachable { reason, message: message.into(), retry_after: None }.into();
            advice(&error.context(NoAnswer { endpoint: endpoint.into() }))
        };
        let check = |endpoint, message, says: &str| {
            let advised = advised(endpoint, message, None).unwrap();
            assert!(advised.contains(says), "{endpoint} {message}: {advised}");
        };
        let (http, https) = ("http://h:1", "https://h:1");
        check(http, "connection refused", "operond dev");
        check(https, "invalid peer certificate: UnknownIssuer", "--ca");
        check(https, "received fatal alert: UnknownCA", "--cert");
        check(https, "connection closed", "--cert");
        check(http, "connection closed", "may speak TLS: try https://h:1");
        check(http, "connection error detected: frame with invalid size", "may speak TLS: try https://h:1");
        check(https, "received corrupt message of type InvalidContentType", "does not speak TLS there: use http://h:1");
        assert_eq!(advised(http, "too much at once", Some("OVERLOADED")), None);
    }
}

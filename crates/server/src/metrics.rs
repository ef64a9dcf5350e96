//! How the server is, in the text that Prometheus and its like read (OpenMetrics 1.0).

use prometheus_client::encoding::text;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// How a server is at one time.
pub(crate) struct Standing<'a> {
    pub(crate) version: &'a str,
    /// Whether it means to go on.
    pub(crate) serving: bool,
    /// What an operator should know of the store; none where it does not answer.
    pub(crate) store: Option<Vec<String>>,
    /// Waits, watches and held calls.
    pub(crate) held: usize,
}

/// Of what [`encode`] makes.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics of a server. Names and labels stay as they are: dashboards and alerts are made of them.
pub(crate) fn encode(standing: &Standing<'_>) -> String {
    let mut registry = Registry::with_prefix("operond");
    registry.register("build", "Which operond this is", Info::new(vec![("version", standing.version.to_owned())]));
    let mut gauge = |name, help, value: i64| {
        let gauge = <Gauge>::default();
        gauge.set(value);
        registry.register(name, help, gauge);
    };
    gauge("serving", "1 while the server means to go on, 0 once it was told to stop", standing.serving.into());
    gauge("store_up", "Whether the store answers", standing.store.is_some().into());
    gauge("held_calls", "Waits, watches and held calls", i64::try_from(standing.held).unwrap_or(i64::MAX));
    let warnings = Family::<Vec<(&str, String)>, Gauge>::default();
    for warning in standing.store.iter().flatten() {
        warnings.get_or_create(&vec![("warning", warning.clone())]).set(1);
    }
    registry.register("store_warning", "What may be lost with this store, and why: 1 for each warning", warnings);
    let mut encoded = String::new();
    text::encode(&mut encoded, &registry).expect("a string takes it");
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_text_of_openmetrics() {
        let warning = "fsync is \"off\"\nand more".to_owned();
        let standing = Standing { version: "1.2", serving: true, store: Some(vec![warning]), held: 3 };
        assert_eq!(
            encode(&standing),
            "\
# HELP operond_build Which operond this is.
# TYPE operond_build info
operond_build_info{version=\"1.2\"} 1
# HELP operond_serving 1 while the server means to go on, 0 once it was told to stop.
# TYPE operond_serving gauge
operond_serving 1
# HELP operond_store_up Whether the store answers.
# TYPE operond_store_up gauge
operond_store_up 1
# HELP operond_held_calls Waits, watches and held calls.
# TYPE operond_held_calls gauge
operond_held_calls 3
# HELP operond_store_warning What may be lost with this store, and why: 1 for each warning.
# TYPE operond_store_warning gauge
operond_store_warning{warning=\"fsync is \\\"off\\\"\\nand more\"} 1
# EOF
"
        );
        let away = encode(&Standing { version: "1.2", serving: false, store: None, held: 0 });
        for line in ["operond_serving 0", "operond_store_up 0"] {
            assert!(away.lines().any(|told| told == line), "{line} is not in {away}");
        }
        assert!(!away.contains("operond_store_warning{"), "{away}");
    }
}

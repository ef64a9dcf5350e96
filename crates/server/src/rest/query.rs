//! Query strings.

use percent_encoding::percent_decode_str;

use crate::error::ApiError;

/// Names and values of a query string, decoded, in order.
pub(super) fn pairs(query: Option<&str>) -> Result<Vec<(String, String)>, ApiError> {
    let parts = query.unwrap_or_default().split('&').filter(|part| !part.is_empty());
    parts.map(|part| part.split_once('=').unwrap_or((part, ""))).map(|(n, v)| Ok((decode(n)?, decode(v)?))).collect()
}

fn decode(text: &str) -> Result<String, ApiError> {
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8();
    decoded.map(Into::into).map_err(|_| ApiError::invalid("query", "is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_decoded() {
        let read = |query| {
            let pairs = pairs(Some(query)).unwrap();
            pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("|")
        };
        assert_eq!(read(""), "");
        assert_eq!(read("&&"), "");
        assert_eq!(read("view=FULL&wait=30s"), "view=FULL|wait=30s");
        assert_eq!(read("filter=kind+%3D+%22a%2Bb%22"), "filter=kind = \"a+b\"");
        assert_eq!(read("a=b=c&d"), "a=b=c|d=");
        assert_eq!(read("%D0%B6=%D0%B6"), "ж=ж");
        assert_eq!(pairs(None), Ok(Vec::new()));
        assert!(pairs(Some("a=%ff")).is_err());
    }
}

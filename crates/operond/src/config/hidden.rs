//! Errors of the command line repeat what was said there, and a URL of a database may have its password in it.

use std::ffi::OsStr;

/// The same error, but for the passwords in `words`: a word of the command line, or the value of a setting.
pub(super) fn hide<'a>(error: clap::Error, words: impl Iterator<Item = &'a OsStr>) -> clap::Error {
    let text = error.render().to_string();
    let hidden = words.fold(text.clone(), |text, word| {
        let word = word.to_string_lossy();
        secrets(&word).into_iter().fold(text, |text, (before, secret, after)| {
            text.replace(&format!("{before}{secret}{after}"), &format!("{before}…{after}"))
        })
    });
    if hidden == text {
        return error;
    }
    clap::Error::raw(error.kind(), hidden.trim_start_matches("error: "))
}

/// What may be secret of a word, with the marks around it.
fn secrets(word: &str) -> Vec<(&str, &str, &str)> {
    let from = word.find("//").map_or(0, |at| at + "//".len());
    let place = word.rfind('@').unwrap_or(from);
    let who = word.get(from..place).unwrap_or_default();
    let password = who.split_once(':').map(|(_, secret)| (":", secret, "@"));
    let parameters = word.split(['?', '&']).skip(1).filter_map(|pair| pair.split_once('='));
    let parameters = parameters.filter(|(name, _)| name.ends_with("password")).map(|(_, secret)| ("=", secret, ""));
    password.into_iter().chain(parameters).filter(|(_, secret, _)| !secret.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::super::parse;

    fn said(line: &[&str]) -> String {
        let line = std::iter::once(&"operond").chain(line).map(OsString::from);
        parse(line).err().expect("the line is wrong").to_string()
    }

    #[test]
    fn no_error_says_the_password_of_a_database_whatever_is_wrong_with_its_url() {
        let lines: [&[&str]; 9] = [
            &["serve", "--store", "{}"],
            &["serve", "--store={}"],
            &["serve", "{}"],
            &["config", "check", "--store", "{}"],
            &["migrate", "up", "--store", "{}"],
            &["migrate", "up", "{}"],
            &["copy", "--from", "{}", "--to", "sqlite:a.db"],
            &["copy", "--from", "sqlite:a.db", "--to", "{}"],
            &["{}"],
        ];
        for password in ["secret", "sec?ret", "sec@ret", "sec ret", "sec'ret", "sec://ret", "s:ecret"] {
            for line in lines {
                let url = format!("postgress://u:{password}@h/db?password=secret");
                let line: Vec<String> = line.iter().map(|word| word.replace("{}", &url)).collect();
                let said = said(&line.iter().map(String::as_str).collect::<Vec<_>>());
                assert!(!said.contains("ret"), "{line:?}: {said}");
                assert!(said.contains("postgress") && said.starts_with("error: "), "{line:?}: {said}");
            }
        }
        assert!(!said(&["serve", "--store", "postgres:secret@h/db"]).contains("secret"));
    }

    #[test]
    fn what_is_no_secret_is_said() {
        let said = said(&["serve", "--store", "postgress://u:a@h/db"]);
        assert!(said.contains("'postgress://u:…@h/db' for '--store <URL>'"), "{said}");
        assert!(said.contains(r#"a store "postgress" is not known"#), "{said}");
    }
}

//! Names: `operations/{id}`, or `{parent}/operations/{id}` with a parent of any number of segments.

use operond_core::limits::OPERATION_NAME_CHARS_MAX;
use operond_core::{Invalid, OperationId, check_text};

use crate::error::quote;

/// What stands before the id in the names of one call: `operations`, or `{parent}/operations`. Answers echo it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Collection(String);

impl Collection {
    /// Reads the name of a list: a collection, or the parent of one; `absent` stands for none.
    pub(crate) fn parse(name: &str, absent: &str) -> Result<Self, Invalid> {
        check_text(NAME, name, OPERATION_NAME_CHARS_MAX)?;
        match name {
            "" => Ok(Self(absent.into())),
            name if is_collection(name) => Ok(Self(name.into())),
            name if name.split('/').all(|segment| !segment.is_empty()) => Ok(Self(format!("{name}/{OPERATIONS}"))),
            _ => Err(malformed(name, "`operations` or `{parent}/operations`")),
        }
    }

    /// Splits the name of an operation.
    pub(crate) fn split(name: &str) -> Result<(Self, OperationId), Invalid> {
        check_text(NAME, name, OPERATION_NAME_CHARS_MAX)?;
        let expected = "`operations/{id}` or `{parent}/operations/{id}`";
        let (collection, id) = name.rsplit_once('/').ok_or_else(|| malformed(name, expected))?;
        if !is_collection(collection) {
            return Err(malformed(name, expected));
        }
        Ok((Self(collection.into()), OperationId::parse(NAME, id)?))
    }

    /// The name of an operation in it.
    pub(crate) fn name_of(&self, id: &OperationId) -> String {
        format!("{}/{}", self.0, id.as_str())
    }
}

/// Whether a name is that of a collection of operations: its last segment is `operations`, and none is empty.
#[must_use]
pub fn is_collection(name: &str) -> bool {
    name.rsplit('/').next() == Some(OPERATIONS) && name.split('/').all(|segment| !segment.is_empty())
}

fn malformed(name: &str, expected: &str) -> Invalid {
    Invalid::malformed(NAME, format!("is {}, expected {expected}", quote(name)))
}

const NAME: &str = "name";
const OPERATIONS: &str = "operations";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_name_are_split_and_put_together_again() {
        for name in ["operations/op1", "projects/p/locations/l/operations/op1", "operations/operations/op1"] {
            let (collection, id) = Collection::split(name).unwrap();
            assert_eq!((id.as_str(), collection.name_of(&id)), ("op1", name.to_owned()));
        }
        for name in ["", "op1", "/op1", "operations", "operations/", "/operations/op1", "a//operations/op1", "jobs/op1"]
        {
            assert_eq!(Collection::split(name).unwrap_err().field, "name", "{name}");
        }
    }

    #[test]
    fn a_list_may_name_the_collection_or_its_parent_or_nothing() {
        for (name, collection) in [
            ("", "shop/operations"),
            ("operations", "operations"),
            ("projects/p/operations", "projects/p/operations"),
            ("projects/p", "projects/p/operations"),
        ] {
            assert_eq!(Collection::parse(name, "shop/operations").unwrap().0, collection);
        }
        for name in ["/", "/operations", "projects//operations", "projects/"] {
            assert!(Collection::parse(name, "operations").is_err(), "{name}");
        }
    }

    #[test]
    fn a_name_may_have_512_characters() {
        let name = |characters: usize| format!("{}/operations/op1", "ж".repeat(characters - 15));
        assert!(Collection::split(&name(512)).is_ok());
        assert!(Collection::split(&name(513)).unwrap_err().to_string().contains("512"));
        assert!(Collection::parse(&"x".repeat(512), "").is_ok());
        assert!(Collection::parse(&"x".repeat(513), "").is_err());
        assert!(Collection::split("a\0/operations/op1").is_err());
    }
}

//! Proto3 JSON of any message, for every face.
//!
//! The standard mapping, with what CONTRACT §4 "REST/JSON" adds to it: an Any of a type that is not
//! known here, or whose bytes are not what its type says, is `{"@type":…,"value":"<base64>"}`
//! instead of an error, and an Any written without `@type` is plain JSON (a Struct, or a Value).
//!
//! ```
//! use operond_proto::operond::v1::CreateRequest;
//! use operond_server::json::Types;
//!
//! let types = Types::builtin();
//! let request: CreateRequest = types.from_json(br#"{"kind":"render","input":{"pages":3}}"#)?;
//! assert_eq!(
//!     types.to_json(&request)?,
//!     r#"{"kind":"render","input":{"@type":"type.googleapis.com/google.protobuf.Struct","value":{"pages":3}}}"#
//! );
//! # Ok::<(), operond_server::json::Error>(())
//! ```

mod any;
mod parse;
mod payloads;
mod print;
mod read;
mod scalar;

use std::sync::LazyLock;

use operond_proto::FILE_DESCRIPTOR_SET;
use prost::{Message, Name};
use prost_reflect::{DescriptorPool, DynamicMessage, Kind, MessageDescriptor};

use read::Node;

/// The message types that JSON can be printed and parsed for. Cloning it is cheap.
#[derive(Clone, Debug)]
pub struct Types {
    pool: DescriptorPool,
}

impl Types {
    /// The types of operond's own faces, the well-known types and the error details of google.rpc.
    #[must_use]
    pub fn builtin() -> Self {
        static BUILTIN: LazyLock<DescriptorPool> = LazyLock::new(|| {
            DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("the committed descriptors are checked by a test")
        });
        Self { pool: BUILTIN.clone() }
    }

    /// What `pool` holds; the built-in types must be among it.
    pub(crate) fn new(pool: DescriptorPool) -> Self {
        Self { pool }
    }

    pub(crate) fn pool(&self) -> &DescriptorPool {
        &self.pool
    }

    /// Prints a message, its members in the order of their numbers.
    ///
    /// # Errors
    /// The message type is not among these types, or a member outside of every Any holds what JSON
    /// cannot say (a time before year 1 or after 9999, a NaN in a Value). What an Any holds never
    /// makes it fail.
    pub fn to_json<M: Message + Name>(&self, message: &M) -> Result<String, Error> {
        let dynamic = DynamicMessage::decode(self.descriptor::<M>()?, &*message.encode_to_vec())
            .map_err(|error| Error::new(error.to_string()))?;
        print::message(self, &dynamic)
    }

    /// Parses a message from the text of one JSON object (for the well-known types: from their own
    /// form). Members go by their JSON or their original name.
    ///
    /// # Errors
    /// The text is not JSON in UTF-8, nested more than [`NESTING_MAX`] deep, or not the JSON of this
    /// message: a member is unknown, given twice, of the wrong type or out of range, or a second one
    /// of a oneof.
    pub fn from_json<M: Message + Name + Default>(&self, text: &[u8]) -> Result<M, Error> {
        self.build(read::read(text)?)
    }

    /// Parses a message from pairs of member name and text, as a query string holds them: numbers
    /// and enums as in JSON strings, `true` and `false` for booleans, no nested members.
    ///
    /// # Errors
    /// As for [`from_json`](Self::from_json).
    pub fn from_pairs<M, N, V>(&self, pairs: impl IntoIterator<Item = (N, V)>) -> Result<M, Error>
    where
        M: Message + Name + Default,
        N: Into<String>,
        V: Into<String>,
    {
        let descriptor = self.descriptor::<M>()?;
        let member = |(name, text): (N, V)| {
            let (name, text) = (name.into(), text.into());
            let field = descriptor.get_field_by_json_name(&name).or_else(|| descriptor.get_field_by_name(&name));
            let boolean = field.filter(|field| field.kind() == Kind::Bool).and_then(|_| text.parse().ok());
            (name, boolean.map_or(Node::String(text), Node::Bool))
        };
        self.build(Node::Object(pairs.into_iter().map(member).collect()))
    }

    fn build<M: Message + Name + Default>(&self, node: Node) -> Result<M, Error> {
        let dynamic = parse::message(self, &self.descriptor::<M>()?, node)?;
        dynamic.transcode_to().map_err(|error| Error::new(error.to_string()))
    }

    fn descriptor<M: Name>(&self) -> Result<MessageDescriptor, Error> {
        let name = M::full_name();
        self.message(&name).ok_or_else(|| Error::new(format!("message type {} is not known here", quoted(&name))))
    }

    fn message(&self, full_name: &str) -> Option<MessageDescriptor> {
        self.pool.get_message_by_name(full_name)
    }
}

/// How deep objects and arrays of a request may be nested. A Struct spends three levels of the 100
/// that protobuf decoders allow on each level of JSON, so that more could be stored and not be read.
pub const NESTING_MAX: usize = 32;

/// Why a text is not the JSON of a message, or a message has no JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}{}{problem}", if .path.is_empty() { "" } else { ": " })]
pub struct Error {
    /// Where, as in `error.details[0].metadata`; empty for the whole text. Bounded.
    pub path: String,
    /// What is wrong there, and what was expected. Bounded.
    pub problem: String,
}

impl Error {
    fn new(problem: impl Into<String>) -> Self {
        Self { path: String::new(), problem: problem.into() }
    }

    /// The same problem as seen from the object around the member.
    fn in_member(self, name: &str) -> Self {
        self.inside(&clipped(name, ECHO_CHARACTERS_MAX))
    }

    /// The same problem as seen from the list around the element.
    fn in_element(self, index: usize) -> Self {
        self.inside(&format!("[{index}]"))
    }

    fn inside(self, outer: &str) -> Self {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        let path = clipped(&format!("{outer}{dot}{}", self.path), PATH_CHARACTERS_MAX);
        Self { path, problem: self.problem }
    }
}

/// Text of a stranger, for an error message: it must not flood it.
fn clipped(text: &str, characters_max: usize) -> String {
    let mut clipped: String = text.chars().take(characters_max).collect();
    if clipped.len() < text.len() {
        clipped.push('…');
    }
    clipped
}

fn quoted(text: &str) -> String {
    format!("{:?}", clipped(text, ECHO_CHARACTERS_MAX))
}

const ECHO_CHARACTERS_MAX: usize = 64;
const PATH_CHARACTERS_MAX: usize = 256;

#[cfg(test)]
mod tests;

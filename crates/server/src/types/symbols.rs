//! Which file defines which name.

use std::collections::HashMap;

use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto};

use super::Conflict;
use super::set::inside;
use crate::error::quote;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Message,
    Enum,
    EnumValue,
    Extension,
    Service,
}

impl Sort {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Message => "a message",
            Self::Enum => "an enum",
            Self::EnumValue => "a value of an enum",
            Self::Extension => "an extension",
            Self::Service => "a service",
        }
    }
}

/// Every name that some files define but those of fields, each once.
#[derive(Default)]
pub(super) struct Symbols<'a>(HashMap<String, (Sort, &'a str)>);

impl<'a> Symbols<'a> {
    /// Of all these files together.
    pub(super) fn of(files: impl IntoIterator<Item = &'a FileDescriptorProto>) -> Result<Self, Conflict> {
        let mut symbols = Self::default();
        for file in files {
            symbols.file(file)?;
        }
        Ok(symbols)
    }

    /// What a name stands for, and in which file.
    pub(super) fn get(&self, name: &str) -> Option<(Sort, &'a str)> {
        self.0.get(name).copied()
    }

    /// Each with what it stands for.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, Sort)> {
        self.0.iter().map(|(name, (sort, _))| (name.as_str(), *sort))
    }

    fn file(&mut self, file: &'a FileDescriptorProto) -> Result<(), Conflict> {
        let (name, package) = (file.name(), file.package());
        for message in &file.message_type {
            self.message(name, package, message)?;
        }
        for r#enum in &file.enum_type {
            self.r#enum(name, package, r#enum)?;
        }
        for extension in &file.extension {
            self.define(name, inside(package, extension.name()), Sort::Extension)?;
        }
        for service in &file.service {
            self.define(name, inside(package, service.name()), Sort::Service)?;
        }
        Ok(())
    }

    fn message(&mut self, file: &'a str, scope: &str, message: &DescriptorProto) -> Result<(), Conflict> {
        let name = inside(scope, message.name());
        for nested in &message.nested_type {
            self.message(file, &name, nested)?;
        }
        for nested in &message.enum_type {
            self.r#enum(file, &name, nested)?;
        }
        for extension in &message.extension {
            self.define(file, inside(&name, extension.name()), Sort::Extension)?;
        }
        self.define(file, name, Sort::Message)
    }

    fn r#enum(&mut self, file: &'a str, scope: &str, r#enum: &EnumDescriptorProto) -> Result<(), Conflict> {
        // Values are siblings of their enum, as in C++.
        for value in &r#enum.value {
            self.define(file, inside(scope, value.name()), Sort::EnumValue)?;
        }
        self.define(file, inside(scope, r#enum.name()), Sort::Enum)
    }

    fn define(&mut self, file: &'a str, name: String, sort: Sort) -> Result<(), Conflict> {
        match self.0.get(&name) {
            Some((_, first)) => Err(Conflict::new(&name, file, format!("is defined in file {}, too", quote(first)))),
            None => {
                self.0.insert(name, (sort, file));
                Ok(())
            }
        }
    }
}

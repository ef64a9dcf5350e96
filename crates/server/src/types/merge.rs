//! From the types that are known and some files to the types that are known then, or to what is in the way.

use std::collections::{BTreeMap, HashMap, HashSet};

use operond_core::check_size;
use operond_core::limits::{TYPE_BYTES_MAX, TYPE_FILES_MAX};
use prost::Message;
use prost_reflect::DescriptorPool;
use prost_types::FileDescriptorProto;

use super::set::{FIELD, File, malformed};
use super::symbols::Symbols;
use super::{Conflict, TypesError, compatible};
use crate::error::quote;
use crate::json::Types;

/// The types of `known` with `files` in place of those of the same name. Files that are built in stay as they are
/// here: another version of one is left out, unless it says something else about what is in ours.
pub(super) fn merge<'a>(known: &Types, files: impl IntoIterator<Item = &'a File>) -> Result<Types, TypesError> {
    let (builtin, files): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| is_builtin(&file.name));
    check_builtin(&builtin)?;
    let new = put(known, files.iter().copied())?;
    for file in files {
        if let Some(old) = known.pool().get_file_by_name(&file.name) {
            compatible::check(&old, new.pool())?;
        }
    }
    Ok(new)
}

/// The same without a look at what the types were before.
pub(super) fn put<'a>(known: &Types, files: impl IntoIterator<Item = &'a File>) -> Result<Types, TypesError> {
    let builtin = Types::builtin();
    let mut protos: BTreeMap<&str, &FileDescriptorProto> = BTreeMap::new();
    let before = known.pool().file_descriptor_protos().filter(|file| !is_builtin(file.name()));
    protos.extend(before.map(|file| (file.name(), file)));
    let old = Symbols::of(protos.values().copied())?;
    for file in files {
        protos.insert(&file.name, &file.proto);
    }
    check_size(FIELD, protos.len(), TYPE_FILES_MAX, "files with those that are known")?;
    let bytes = protos.values().map(|file| file.encoded_len()).sum();
    check_size(FIELD, bytes, TYPE_BYTES_MAX, "bytes with the files that are known")?;

    check_imports(&protos)?;
    let new = Symbols::of(builtin.pool().file_descriptor_protos().chain(protos.values().copied()))?;
    check_sorts(&old, &new)?;
    let pool = build(builtin.pool().clone(), protos.into_values().cloned().collect())?;
    Ok(Types::new(pool))
}

/// Whether a file is one that every server knows.
pub(super) fn is_builtin(name: &str) -> bool {
    Types::builtin().pool().get_file_by_name(name).is_some()
}

/// Refuses what says something else about a built-in type. Whatever else is in such files is of no interest:
/// compilers bring their own versions of the well-known types.
fn check_builtin(files: &[&File]) -> Result<(), TypesError> {
    if files.is_empty() {
        return Ok(());
    }
    let builtin = Types::builtin();
    let ours = builtin.pool().file_descriptor_protos().map(|file| (file.name(), file));
    let mut protos: BTreeMap<&str, &FileDescriptorProto> = ours.collect();
    protos.extend(files.iter().map(|file| (&*file.name, &file.proto)));
    check_imports(&protos)?;
    let (old, new) = (Symbols::of(builtin.pool().file_descriptor_protos())?, Symbols::of(protos.values().copied())?);
    check_sorts(&old, &new)?;
    let theirs = build(DescriptorPool::new(), protos.into_values().cloned().collect())?;
    for file in files {
        let ours = builtin.pool().get_file_by_name(&file.name).expect("it is built in");
        compatible::check(&ours, &theirs)?;
    }
    Ok(())
}

/// Refuses names that stand for something of another sort than before.
fn check_sorts(old: &Symbols<'_>, new: &Symbols<'_>) -> Result<(), Conflict> {
    let changed = old.iter().find_map(|(name, was)| {
        let (is, file) = new.get(name).filter(|(is, _)| *is != was)?;
        Some(Conflict::new(name, file, format!("was {}, and is {}", was.as_str(), is.as_str())))
    });
    changed.map_or(Ok(()), Err)
}

/// Refuses imports of files that are nowhere, and files that import themselves by way of others.
fn check_imports(files: &BTreeMap<&str, &FileDescriptorProto>) -> Result<(), TypesError> {
    for (name, file) in files {
        for import in &file.dependency {
            if !files.contains_key(import.as_str()) && !is_builtin(import) {
                let (import, name) = (quote(import), quote(name));
                return Err(malformed(format!("lacks the file {import}, which {name} imports: add it")).into());
            }
        }
    }
    match cycle(files) {
        None => Ok(()),
        Some(name) => Err(malformed(format!("has a cycle of imports with the file {}", quote(name))).into()),
    }
}

/// A file on a cycle of imports, or that imports one; without recursion, since a chain can be long.
fn cycle<'a>(files: &BTreeMap<&'a str, &'a FileDescriptorProto>) -> Option<&'a str> {
    let mut importers: HashMap<&str, Vec<&'a str>> = HashMap::new();
    let mut imports: HashMap<&'a str, usize> = HashMap::new();
    for (name, file) in files {
        let among: HashSet<&str> =
            file.dependency.iter().map(String::as_str).filter(|import| files.contains_key(import)).collect();
        imports.insert(name, among.len());
        for import in among {
            importers.entry(import).or_default().push(name);
        }
    }
    let mut free: Vec<&'a str> = files.keys().copied().filter(|name| imports[name] == 0).collect();
    while let Some(name) = free.pop() {
        imports.remove(name);
        for importer in importers.remove(name).unwrap_or_default() {
            let left = imports.get_mut(importer).expect("it waits for this import");
            *left -= 1;
            if *left == 0 {
                free.push(importer);
            }
        }
    }
    imports.into_keys().min()
}

fn build(mut pool: DescriptorPool, files: Vec<FileDescriptorProto>) -> Result<DescriptorPool, TypesError> {
    pool.add_file_descriptor_protos(files).map_err(|error| {
        let file = error.file().map(|file| format!(" in file {}", quote(file))).unwrap_or_default();
        malformed(format!("is not consistent{file}: {error}"))
    })?;
    Ok(pool)
}

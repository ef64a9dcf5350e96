//! Documents: named values beside operations.

use super::Subject;
use super::block_on::block_on;
use super::make::SECOND;
use super::rig::Rig;
use crate::documents::{Collection, Document, DocumentWrite, Stale};

impl Rig<'_> {
    pub(super) fn put(&self, writes: &[DocumentWrite]) -> Result<Vec<Document>, Stale> {
        block_on(self.store.put_documents(writes.to_vec())).expect("a store that is well takes documents")
    }

    pub(super) fn documents(&self, collection: Collection) -> Vec<Document> {
        block_on(self.store.documents(collection)).expect("a store that is well reads documents")
    }

    /// Every file of types.
    fn types(&self) -> Vec<Document> {
        self.documents(Collection::Types)
    }
}

/// A file of types that is not there yet.
pub(super) fn new(name: &str, bytes: &[u8]) -> DocumentWrite {
    replacing(0, name, bytes)
}

fn replacing(replaces: u64, name: &str, bytes: &[u8]) -> DocumentWrite {
    DocumentWrite { collection: Collection::Types, name: name.into(), replaces, bytes: bytes.into() }
}

fn names(documents: &[Document]) -> Vec<&str> {
    documents.iter().map(|document| &*document.name).collect()
}

fn stale(name: &str, found: u64) -> Result<Vec<Document>, Stale> {
    Err(Stale { collection: Collection::Types, name: name.into(), found })
}

pub fn a_new_store_has_no_documents(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    for collection in Collection::ALL {
        assert_eq!(rig.documents(*collection), []);
    }
    assert_eq!(rig.put(&[]), Ok(vec![]));
}

pub fn a_document_reads_back_with_its_version_and_time(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    rig.advance(SECOND);
    let name = "ж/:%'\"\\ ".repeat(32);
    let written = rig.put(&[new(&name, &[0, 0xff]), new("empty", b"")]).expect("both are new");
    let expected = Document {
        collection: Collection::Types,
        name: name.as_str().into(),
        version: 1,
        modified_at: rig.now(),
        bytes: [0, 0xff].into(),
    };
    assert_eq!(written[0], expected);
    assert_eq!(rig.types(), [written[1].clone(), expected.clone()]);
    rig.advance(SECOND);
    let second = rig.put(&[replacing(1, &name, b"2")]).expect("its version is 1").remove(0);
    assert_eq!((second.version, second.modified_at), (2, expected.modified_at.after(SECOND)));
    assert_eq!(rig.types(), [written[1].clone(), second]);
}

pub fn documents_of_a_collection_are_listed_by_name(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    rig.put(&["b", "é", "a/b", "B", "a"].map(|name| new(name, b""))).expect("all are new");
    assert_eq!(names(&rig.types()), ["B", "a", "a/b", "b", "é"]);
}

pub fn names_mean_nothing_to_another_collection(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let kind = |name: &str, bytes: &[u8]| DocumentWrite { collection: Collection::Kinds, ..new(name, bytes) };
    rig.put(&[new("a", b"type"), kind("a", b"kind"), kind("b", b"")]).expect("all are new");
    assert_eq!(names(&rig.types()), ["a"]);
    assert_eq!(names(&rig.documents(Collection::Kinds)), ["a", "b"]);
    assert_eq!(&*rig.types()[0].bytes, b"type");
    assert_eq!(&*rig.documents(Collection::Kinds)[0].bytes, b"kind");
}

pub fn a_write_of_another_version_is_refused_by_name(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    assert_eq!(rig.put(&[replacing(1, "a", b"x")]), stale("a", 0));
    assert_eq!(rig.types(), []);
    rig.put(&[new("a", b"1")]).expect("it is new");
    let stored = rig.put(&[replacing(1, "a", b"2")]).expect("its version is 1");
    for replaces in [0, 1, 3, u64::MAX] {
        assert_eq!(rig.put(&[replacing(replaces, "a", b"x")]), stale("a", 2));
    }
    assert_eq!(rig.types(), stored);
}

pub fn a_refused_write_leaves_every_document_as_it_was(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let stored = rig.put(&[new("a", b"1"), new("b", b"1")]).expect("both are new");
    let refused = rig.put(&[replacing(1, "a", b"2"), new("new", b""), replacing(7, "b", b"2"), new("c", b"")]);
    assert_eq!(refused, stale("b", 1));
    assert_eq!(rig.types(), stored);
}

pub fn a_document_named_twice_in_one_write_is_written_twice(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let written = rig.put(&[new("a", b"1"), replacing(1, "a", b"2")]).expect("the second sees the first");
    assert_eq!(written.iter().map(|document| document.version).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(rig.types(), written[1..]);
    assert_eq!(rig.put(&[new("b", b"1"), new("b", b"2")]), stale("b", 1));
    assert_eq!(names(&rig.types()), ["a"]);
}

pub fn a_document_of_four_mebibytes_reads_back(subject: &mut dyn Subject) {
    let rig = Rig::new(subject);
    let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(4 << 20).collect();
    rig.put(&[new("large", &bytes)]).expect("it is new");
    assert!(*rig.types()[0].bytes == *bytes, "it is not what was written");
}

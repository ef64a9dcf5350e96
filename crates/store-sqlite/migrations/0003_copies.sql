-- What this store was copied from. No server opens it until the copy is finished.
ALTER TABLE meta ADD COLUMN copy_source TEXT; -- what was called the source; NULL: it is no copy
ALTER TABLE meta ADD COLUMN copy_place  BLOB; -- packed: everything up to here is copied; NULL: it is finished

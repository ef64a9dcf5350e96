-- Named values beside operations: message types, and defaults of kinds.
CREATE TABLE documents (
    collection  INTEGER NOT NULL, -- 1 types, 2 kinds
    name        TEXT    NOT NULL,
    version     INTEGER NOT NULL,
    modified_at INTEGER NOT NULL,
    bytes       BLOB    NOT NULL,
    PRIMARY KEY (collection, name)
) STRICT;

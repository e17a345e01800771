/**
 * Imports: what other programs knew about a box, and revisions of more rows than one text can hold. A bulk revision has an
 * empty `diff`; its rows lie in pieces, as arrays under the names of their columns, in the order they were applied.
 */
export const imports = {
  version: 20,
  sql: `
ALTER TABLE annotations ADD COLUMN extras TEXT;
ALTER TABLE revisions ADD COLUMN bulk_rows INTEGER NOT NULL DEFAULT 0 CHECK (bulk_rows >= 0);

CREATE TABLE revision_pieces (
  id INTEGER PRIMARY KEY,
  seq INTEGER NOT NULL REFERENCES revisions (seq) DEFERRABLE INITIALLY DEFERRED,
  diff TEXT NOT NULL
) STRICT;
CREATE INDEX revision_pieces_seq ON revision_pieces (seq, id);

CREATE TRIGGER revision_pieces_keep BEFORE UPDATE ON revision_pieces
BEGIN SELECT RAISE(ABORT, 'history is append-only'); END;
CREATE TRIGGER revision_pieces_stay BEFORE DELETE ON revision_pieces
BEGIN SELECT RAISE(ABORT, 'history is append-only'); END;
CREATE TRIGGER revisions_keep_bulk BEFORE UPDATE OF bulk_rows ON revisions
BEGIN SELECT RAISE(ABORT, 'history is append-only'); END;
`,
}

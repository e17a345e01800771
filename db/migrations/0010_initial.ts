/**
 * The first schema. Counters and per-image counts are kept by triggers, so that a project summary never counts rows.
 * Foreign keys are checked at COMMIT: a diff may name its rows in any order. Nothing cascades.
 */
export const initial = {
  version: 10,
  sql: `
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

-- last.<table> is the highest id ever used: ids of deleted rows never come back.
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO counters (name, value) VALUES
  ('images', 0), ('done', 0), ('decided', 0), ('skipped', 0), ('opened', 0),
  ('last.categories', 0), ('last.annotations', 0), ('last.images', 0), ('last.messages', 0);

CREATE TABLE categories (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL CHECK (length(name) > 0),
  color TEXT NOT NULL
) STRICT;
CREATE INDEX categories_name ON categories (name);

CREATE TABLE images (
  id INTEGER PRIMARY KEY,
  file_name TEXT NOT NULL UNIQUE,
  sort_key TEXT NOT NULL,
  search_key TEXT NOT NULL,
  width INTEGER NOT NULL CHECK (width > 0),
  height INTEGER NOT NULL CHECK (height > 0),
  file_bytes INTEGER NOT NULL CHECK (file_bytes >= 0),
  content_sha256 TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('ready', 'missing')),
  done INTEGER NOT NULL CHECK (done IN (0, 1)),
  proposed_at INTEGER,
  modified_ms INTEGER,
  proposed_count INTEGER NOT NULL DEFAULT 0,
  accepted_count INTEGER NOT NULL DEFAULT 0,
  edited_count INTEGER NOT NULL DEFAULT 0,
  rejected_count INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX images_sort ON images (sort_key, id);
CREATE INDEX images_hash ON images (content_sha256);

CREATE TABLE skipped_files (file_name TEXT PRIMARY KEY, sort_key TEXT NOT NULL, reason TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE annotations (
  id INTEGER PRIMARY KEY,
  image_id INTEGER NOT NULL REFERENCES images (id) DEFERRABLE INITIALLY DEFERRED,
  category_id INTEGER REFERENCES categories (id) DEFERRABLE INITIALLY DEFERRED,
  x REAL NOT NULL, y REAL NOT NULL,
  w REAL NOT NULL CHECK (w > 0), h REAL NOT NULL CHECK (h > 0),
  caption TEXT,
  provenance TEXT NOT NULL CHECK (provenance IN ('model', 'human', 'import')),
  status TEXT NOT NULL CHECK (status IN ('proposed', 'accepted', 'edited', 'rejected')),
  model_x REAL, model_y REAL, model_w REAL, model_h REAL,
  model_caption TEXT,
  model_score REAL CHECK (model_score BETWEEN 0 AND 1),
  model_hash TEXT,
  decided_at INTEGER,
  decision_ms INTEGER
) STRICT;
CREATE INDEX annotations_image ON annotations (image_id);
CREATE INDEX annotations_category ON annotations (category_id);

CREATE TABLE messages (
  id INTEGER PRIMARY KEY,
  image_id INTEGER NOT NULL REFERENCES images (id) DEFERRABLE INITIALLY DEFERRED,
  role TEXT NOT NULL CHECK (role IN ('user', 'assistant')),
  text TEXT NOT NULL,
  spans TEXT NOT NULL,
  attached_boxes TEXT NOT NULL,
  regions TEXT NOT NULL,
  model_hash TEXT,
  malformed INTEGER NOT NULL CHECK (malformed IN (0, 1)),
  stop_reason TEXT,
  created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX messages_image ON messages (image_id);

-- Append-only, apart from state: done | undone (redo would bring it back) | discarded (undone, then new work followed).
CREATE TABLE revisions (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  actor TEXT NOT NULL CHECK (actor IN ('human', 'model', 'import', 'scan')),
  label TEXT NOT NULL,
  undoes INTEGER REFERENCES revisions (seq),
  redoes INTEGER REFERENCES revisions (seq),
  created_at INTEGER NOT NULL,
  image_id INTEGER,
  undoable INTEGER NOT NULL CHECK (undoable IN (0, 1)),
  state TEXT NOT NULL DEFAULT 'done' CHECK (state IN ('done', 'undone', 'discarded')),
  diff TEXT NOT NULL
) STRICT;
CREATE INDEX revisions_undoable ON revisions (state, seq) WHERE undoable = 1;
CREATE INDEX revisions_undoes ON revisions (undoes, seq) WHERE undoes IS NOT NULL;
CREATE INDEX revisions_redoes ON revisions (redoes, seq) WHERE redoes IS NOT NULL;

CREATE TRIGGER revisions_keep BEFORE UPDATE OF seq, actor, label, undoes, redoes, created_at, image_id, undoable, diff ON revisions
BEGIN SELECT RAISE(ABORT, 'history is append-only'); END;
CREATE TRIGGER revisions_stay BEFORE DELETE ON revisions
BEGIN SELECT RAISE(ABORT, 'history is append-only'); END;

-- What the model said stays for ever, once it is set.
CREATE TRIGGER annotations_keep_model
BEFORE UPDATE OF model_x, model_y, model_w, model_h, model_caption, model_score, model_hash ON annotations
WHEN (OLD.model_x IS NOT NULL AND (NEW.model_x IS NOT OLD.model_x OR NEW.model_y IS NOT OLD.model_y
      OR NEW.model_w IS NOT OLD.model_w OR NEW.model_h IS NOT OLD.model_h))
  OR (OLD.model_caption IS NOT NULL AND NEW.model_caption IS NOT OLD.model_caption)
  OR (OLD.model_score IS NOT NULL AND NEW.model_score IS NOT OLD.model_score)
  OR (OLD.model_hash IS NOT NULL AND NEW.model_hash IS NOT OLD.model_hash)
BEGIN SELECT RAISE(ABORT, 'what the model said never changes'); END;

CREATE TRIGGER annotations_count_insert AFTER INSERT ON annotations BEGIN
  UPDATE images SET
    proposed_count = proposed_count + (NEW.status = 'proposed'), accepted_count = accepted_count + (NEW.status = 'accepted'),
    edited_count = edited_count + (NEW.status = 'edited'), rejected_count = rejected_count + (NEW.status = 'rejected')
  WHERE id = NEW.image_id;
  UPDATE counters SET value = value + 1 WHERE name = 'decided' AND NEW.status <> 'proposed';
END;
CREATE TRIGGER annotations_count_delete AFTER DELETE ON annotations BEGIN
  UPDATE images SET
    proposed_count = proposed_count - (OLD.status = 'proposed'), accepted_count = accepted_count - (OLD.status = 'accepted'),
    edited_count = edited_count - (OLD.status = 'edited'), rejected_count = rejected_count - (OLD.status = 'rejected')
  WHERE id = OLD.image_id;
  UPDATE counters SET value = value - 1 WHERE name = 'decided' AND OLD.status <> 'proposed';
END;
CREATE TRIGGER annotations_count_update AFTER UPDATE OF status, image_id ON annotations
WHEN NEW.status <> OLD.status OR NEW.image_id <> OLD.image_id BEGIN
  UPDATE images SET
    proposed_count = proposed_count - (OLD.status = 'proposed'), accepted_count = accepted_count - (OLD.status = 'accepted'),
    edited_count = edited_count - (OLD.status = 'edited'), rejected_count = rejected_count - (OLD.status = 'rejected')
  WHERE id = OLD.image_id;
  UPDATE images SET
    proposed_count = proposed_count + (NEW.status = 'proposed'), accepted_count = accepted_count + (NEW.status = 'accepted'),
    edited_count = edited_count + (NEW.status = 'edited'), rejected_count = rejected_count + (NEW.status = 'rejected')
  WHERE id = NEW.image_id;
  UPDATE counters SET value = value + (NEW.status <> 'proposed') - (OLD.status <> 'proposed') WHERE name = 'decided';
END;

CREATE TRIGGER images_count_insert AFTER INSERT ON images BEGIN
  UPDATE counters SET value = value + 1 WHERE name = 'images';
  UPDATE counters SET value = value + NEW.done WHERE name = 'done';
END;
CREATE TRIGGER images_count_delete AFTER DELETE ON images BEGIN
  UPDATE counters SET value = value - 1 WHERE name = 'images';
  UPDATE counters SET value = value - OLD.done WHERE name = 'done';
END;
CREATE TRIGGER images_count_done AFTER UPDATE OF done ON images WHEN NEW.done <> OLD.done BEGIN
  UPDATE counters SET value = value + NEW.done - OLD.done WHERE name = 'done';
END;
`,
}

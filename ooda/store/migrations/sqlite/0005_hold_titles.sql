-- What people call what is held: a workspace is held by its id, which says nothing to them.
ALTER TABLE steward_holds ADD COLUMN title TEXT NOT NULL DEFAULT '';

-- The change of ../sqlite/0002_revisions.sql.
ALTER TABLE budget_windows ADD COLUMN revision BIGINT NOT NULL DEFAULT 0;

-- How often a budget window was changed: what is told to others about it is told in this order, whoever is quicker.
ALTER TABLE budget_windows ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;

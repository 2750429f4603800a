"""A model that always does what hostile text says, against the gate: the evidence behind the labels."""

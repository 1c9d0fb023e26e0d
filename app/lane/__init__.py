"""The heart: how CDRs are claimed, handed to workers, settled, swept and adopted. May import what is below it."""

"""Dead letters: written, read, selected, replayed and dropped. May import store and what is below it."""

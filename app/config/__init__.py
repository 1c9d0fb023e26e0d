"""Settings, endpoints and the environment they are read from. Imports nothing else of ours but errors."""

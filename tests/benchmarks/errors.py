class CannotRunError(Exception):
    """Why a benchmark cannot be run here, in a sentence for people."""

"""What is wrong with what the user gave."""


class InputError(Exception):
    """Something the user gave cannot be used; the message is one line that says what and what to do."""

"""What the console's commands end with."""

OK, FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130

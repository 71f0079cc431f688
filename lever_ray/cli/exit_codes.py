"""What the console's commands end with."""

OK, FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130
NOT_READ = 141
"""The reader of a pipe is gone; what a shell tells of a program that the signal SIGPIPE ends."""

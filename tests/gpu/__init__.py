"""`make gpu-check`: all that only a GPU can show, in a quarter of an hour, and the same without one as a trial."""

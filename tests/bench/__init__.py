"""`make bench`: featsvc beside the ways it could be done otherwise, measured in one run."""

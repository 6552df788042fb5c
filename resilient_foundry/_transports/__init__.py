"""The doing: two drivers, one sync and one async, and the binder that fits them to a library."""

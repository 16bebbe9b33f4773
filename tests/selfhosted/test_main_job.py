"""The main job with every part as a process. The checks are the same as in tests/cluster."""

from fieldgate_testing.main_job import *  # noqa: F403

"""The main job in the cluster. The checks are the same as in tests/selfhosted."""

from fieldgate_testing.main_job import *  # noqa: F403

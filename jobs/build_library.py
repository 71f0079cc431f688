"""Train a policy library."""

import sys

from lever_ray.cli import run_job

if __name__ == "__main__":
    sys.exit(run_job("build"))

"""Run an experiment and log it to MLflow; the library is trained first where it is missing."""

import sys

from lever_ray.cli import run_job

if __name__ == "__main__":
    sys.exit(run_job("experiment"))

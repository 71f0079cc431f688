"""Tune the candidate budget with Optuna; a study of the same name goes on where it stopped."""

import sys

from lever_ray.cli import run_job

if __name__ == "__main__":
    sys.exit(run_job("tune"))

"""Run the published study and more, from nothing to a report; what is finished is kept."""

import sys

from lever_ray.cli import run_job

if __name__ == "__main__":
    sys.exit(run_job("reproduce"))

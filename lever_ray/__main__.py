"""``python -m lever_ray`` is ``lever-ray``."""

import sys

from lever_ray.cli import main

if __name__ == "__main__":
    sys.exit(main())

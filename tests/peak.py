"""The peak of resident memory of this very process."""

import resource
from pathlib import Path

STATUS = Path("/proc/self/status")


def peak_resident():
    """Bytes of resident memory at their peak since this process runs its program.

    Not ``ru_maxrss`` where the kernel tells better: that starts at what the process that started this one had held.
    """
    if STATUS.exists():
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10

"""The peak of resident memory of this very process."""

import resource

from lever_ray.studies.peak_memory import resident


def peak_resident():
    """Bytes of resident memory at their peak since this process runs its program.

    Not ``ru_maxrss`` where the kernel tells better: that starts at what the process that started this one had held.
    """
    try:
        return resident("VmHWM")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10

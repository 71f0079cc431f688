"""Ray: tasks on a cluster, and library shards in actors. Only these modules import it."""

from lever_ray.ray_execution.executor import RayExecutor, connect, disconnect
from lever_ray.ray_execution.library import ShardedLibrary
from lever_ray.ray_execution.server import end_shared

__all__ = ["RayExecutor", "ShardedLibrary", "connect", "disconnect", "end_shared"]

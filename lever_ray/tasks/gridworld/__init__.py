"""The environment: layouts, objectives, the compiled step kernel, features and episodes."""

"""One file per fusion method; `pipelines.registry` finds them by reading this folder."""

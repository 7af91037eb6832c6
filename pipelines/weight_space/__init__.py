"""Weight-space fusion: tensor functions on low-rank factors, one idea a file; no dense [m n] update is ever formed."""

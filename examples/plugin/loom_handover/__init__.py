"""A fusion method and a metric that Loom finds once this package is installed."""

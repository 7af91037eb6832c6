"""Measuring pictures: metrics over one interface of feature extractors, with intervals, comparisons and reports."""

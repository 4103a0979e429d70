"""What cheap numbers tell of generation: correlations of proxies with an outcome, within and across families."""

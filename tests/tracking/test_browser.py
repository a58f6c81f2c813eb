"""MLflow's pages in a browser: what one lands on, the tree of runs, comparing, sliders, the registered model."""

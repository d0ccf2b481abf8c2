"""One module for each family of workloads; `execobench.registry` lists them."""

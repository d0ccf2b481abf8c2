#!/usr/bin/env python3
"""How well do three programs compress, and how long do they take?  A campaign of 18 combinations."""

import time

from execo import Remote
from execo_engine import SweepEngine
from execo_engine.testbeds import ClusterTestbed


class Compress(SweepEngine):
    parameters = {"program": ["gzip", "bzip2"], "level": [1, 5, 9], "lines": [10_000, 30_000, 100_000]}
    testbed = ClusterTestbed(4, walltime="0:10:00")         # or SlurmTestbed(4, "1:00:00"), or StaticTestbed("node-[1-4]")

    def run_combination(self, combination, hosts, directory):
        command = "seq {lines} > numbers; {program} -{level} -c numbers | wc -c".format(**combination)
        begin = time.time()
        action = Remote(f"mkdir -p {directory} && cd {directory} && {command}", hosts, self.connection_params).run()
        if not action.ok:
            raise RuntimeError("it has failed")             # tried again, three times in all
        return {"bytes": int(action.processes[0].stdout), "seconds": time.time() - begin}


if __name__ == "__main__":
    campaign = Compress()
    campaign.start()
    print(len(campaign.results.rows()), "results")
# It prints:
# ...
# 18 results

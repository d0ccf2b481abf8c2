#!/usr/bin/env python3
"""A hundred independent executions of one program, each on a node of its own, over several sites, in as many jobs as that takes.

    python independent.py lyon=20 nancy=20 rennes=20 --walltime 5:00:00 --steps 100000000

After section 6.4 of the Grid'5000 paper: a stochastic search is repeated with other seeds.  Nodes need awk, and nothing else."""

import shlex

from execo import Remote
from execo_engine import SweepEngine
from execo_g5k import G5kTestbed, get_host_site

SEARCH = """
function cost(   j, sum, batch, cycle) {        # of 90 stages, with 1 to 3 units of some size, and of each hour too late
    for (j = 1; j <= 90; j++) {
        sum += units[j] * size[j] ^ 0.6; if (hours[j] / units[j] > cycle) cycle = hours[j] / units[j]
        if (j == 1 || size[j] / need[j] < batch) batch = size[j] / need[j] }
    return sum + (cycle > 8 * batch ? 9 * (cycle / batch - 8) : 0) }
BEGIN {
    srand(seed)
    for (j = 1; j <= 90; j++) { need[j] = 1 + sin(j) ^ 2; hours[j] = 1 + 9 * cos(j) ^ 2; units[j] = 3; size[j] = 9 }
    for (now = cost(); step < steps; step++) {
        j = 1 + int(90 * rand()); u = units[j]; s = size[j]
        if (rand() < 0.5) units[j] = 1 + int(3 * rand()); else size[j] *= 0.9 + 0.2 * rand()
        if ((new = cost()) < now || rand() < exp((now - new) * 9 * step / steps)) now = new; else { units[j] = u; size[j] = s } }
    printf "%.3f", now }"""


class Independent(SweepEngine):
    parameters = {"execution": range(1, 101)}

    def __init__(self):
        super().__init__()
        option = self.args_parser.add_argument
        option("resources", nargs="*", default=["lyon=2", "nancy=2", "rennes=2"], metavar="SITE=HOSTS")
        option("--walltime", default="0:30:00")
        option("--lead", type=float, default=20, help="seconds from the request to the start of the jobs")
        option("--steps", type=int, default=2000, help="of each search")

    def testbed(self):
        wanted = {site: int(number) for site, number in (word.split("=") for word in self.args.resources)}
        return G5kTestbed(wanted, self.args.walltime, lead=self.args.lead, name="independent")

    def run_combination(self, combination, hosts, directory):
        seed = self.combination_seed(combination) % 10**6
        action = Remote(f"awk -v seed={seed} -v steps={self.args.steps} {shlex.quote(SEARCH)}", hosts, self.connection_params).run()
        if not action.ok:
            raise RuntimeError(f"the search: {action.processes[0].outcome}")
        return {"cost": float(action.processes[0].stdout), "seed": seed, "host": hosts[0].address, "site": get_host_site(hosts[0])}


if __name__ == "__main__":
    campaign = Independent()
    campaign.start()
    rows = [] if campaign.args.dry_run else campaign.results.rows()
    for host in sorted({row["host"] for row in rows}):
        print(f"{host:34}", *sorted(row["execution"] for row in rows if row["host"] == host))
    for best in sorted(rows, key=lambda row: row["cost"])[:1]:
        print(f"{len(rows)} executions; the cheapest plant, {best['cost']}, comes from execution {best['execution']}, in {best['site']}")

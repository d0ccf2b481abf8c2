#!/usr/bin/env python3
"""What does a VM get of its core, when other VMs run on the same core, and on other cores?  A sample of all ways to place VMs on cores.

    collocation.py -c DIR          run the campaign, or go on with it
    collocation.py summary DIR     the model, collocation.csv and collocation.svg of what there is, also while it runs
"""

import csv
import sys
from statistics import mean

from execo import Remote
from execo_engine import ParameterSpace, Results
from execo_g5k import G5kTestbed
from execo_g5k.vmengine import VMEngine
from execo_g5k.vmutils import define_vms

OPTIONS = {"n": (100, "combinations; if there are not so many, some several times"), "most": (8, "VMs on a core"),
           "caches": ("0,1,2,3,4,5/6,7,8,9,10,11", "cores that share a cache, /, those that share the next one"),
           "seconds": (300.0, "that the benchmark runs"), "memory": (256, "of a VM, in MiB"), "on": ("taurus", "a cluster, or a site"),
           "hosts": (1, "a combination on each"), "walltime": ("6:00:00", "of a job"), "environment": ("debian12-min", "of the hosts")}
# 1000 operations at a time; a line for each 1/100 s: when, in seconds since the VM is up, and how many there were so far.
BENCHMARK = """exec awk 'BEGIN { for (x = 1;; close("/proc/uptime")) {
    for (i = 0; i < 500; i++) x = x * 0.9999999 + 1; getline up < "/proc/uptime"; split(up, now); done += 1000
    if (now[1] != last) { printf "%s %.0f\\n", last = now[1], done; fflush() } } }'"""


def any_placement(caches, most):
    """0 to `most` VMs on each core."""
    return ParameterSpace({core: range(most + 1) for cores in caches for core in cores})


def placement_by_caches(caches, most):
    """Cores that share a cache are alike, and so are caches: of combinations that differ by their order only, one."""
    of_a_cache = ParameterSpace.multisets(range(most + 1), len(caches[0]))
    return ParameterSpace({",".join(core for cores in caches for core in cores): ParameterSpace.multisets(of_a_cache, len(caches))})


def by_core(combination):
    """{core: number of VMs}, of what either generator gives."""
    found = {}
    for cores, numbers in combination.items():
        flat = [numbers] if isinstance(numbers, int) else [number for cache in numbers for number in cache]
        found.update(zip(cores.split(","), flat, strict=True))
    return {core: number for core, number in found.items() if core != "replicate"}


class Collocation(VMEngine):
    generators = {"any": any_placement, "caches": placement_by_caches}

    def __init__(self):
        super().__init__()
        self.args_parser.add_argument("--generator", choices=self.generators, default="any", help="of combinations. Default = any")
        for name, (default, text) in OPTIONS.items():
            self.args_parser.add_argument(f"--{name}", type=type(default), default=default, help=f"{text}. Default = {default}")

    def parameters(self):
        caches, n = [cores.split(",") for cores in self.args.caches.split("/")], self.args.n
        if min(n, self.args.most) < 1 or (self.args.generator == "caches" and len(set(map(len, caches))) > 1):
            self.args_parser.error(f"expected --n and --most >= 1, --caches of one size, found {n}, {self.args.most}, {self.args.caches}")
        space = self.generators[self.args.generator](caches, self.args.most)[1:]        # the first one has no VM
        return space.sample(n, self.seed) if n <= space.size else space.replicated(-(-n // space.size))[:n]

    def testbed(self):
        return G5kTestbed({self.args.on: self.args.hosts}, self.args.walltime, environment=self.args.environment, subnets={"slash_22": 1})

    def define(self, combination, hosts):                       # next 1. the disks, 2. the VMs, each on its core
        vms = [(core, number) for core, total in by_core(combination).items() for number in range(total)]
        return define_vms([f"vm-{core}-{number}" for core, number in vms], cpusets=[core for core, _ in vms], mem=self.args.memory, hdd=1)

    def install(self, combination, vms):                        # 3.
        self.in_vms(vms, f"cat > benchmark << 'end'\n{BENCHMARK}\nend")

    def measure(self, combination, vms, hosts, directory):      # 4. run it, 5. end all after a time
        command = "sh benchmark >> output & until [ -s output ]; do sleep 0.1; done; echo ready; read line; : > output; read line; kill $!"
        with Remote(command, self.guests(vms), self.vm_connection_params).start() as action:
            action.expect("ready", timeout=60)                  # what counts is when it runs in all of them
            action.write("begin\n")
            action.wait(timeout=self.args.seconds)              # or until there is none that runs
            action.write("end\n")
            self.require_all(vms, action.wait(timeout=60))

    def collect(self, combination, vms, directory):             # 6.; then 7. the VMs are destroyed
        flops = {}
        for vm, process in zip(vms, self.in_vms(vms, "cat output").processes, strict=True):
            (directory / vm["id"]).write_text(process.stdout)
            lines = [[float(word) for word in line.split()] for line in process.stdout.splitlines()]
            if len(lines) < 2:
                raise ValueError(f"{vm['id']}: expected two lines of the benchmark or more, found {process.stdout!r}")
            (begin, first), (end, last) = lines[0], lines[-1]
            flops.setdefault(vm["cpuset"], []).append((last - first) / (end - begin))
        return {"flops": flops}


def summary(directory):
    """FLOPS of a core, by least squares, if each VM gets them divided by the VMs on the core; and what is left to be explained."""
    rows = [{"same": len(each), "other": sum(map(len, row["flops"].values())) - len(each), "core": core, "flops": one}
            for row in Results(directory).rows() for core, each in row["flops"].items() for one in each
            ] or sys.exit(f"no results yet in {directory}")
    whole = sum(row["flops"] / row["same"] for row in rows) / sum(1 / row["same"] ** 2 for row in rows)
    cells = {}
    for row in rows:
        row["residual"] = row["flops"] - whole / row["same"]
        cells.setdefault((row["same"], row["other"]), []).append(row)
    with open(f"{directory}/collocation.csv", "w", newline="") as file:
        (writer := csv.DictWriter(file, list(rows[0]))).writeheader()
        writer.writerows(rows)
    print(f"{len(rows)} VMs: FLOPS = {whole:.0f} / VMs on the core, residual {mean(row['residual'] ** 2 for row in rows) ** 0.5:.0f} (rms)")
    for same, other in sorted(cells):
        flops, residual = (mean(row[name] for row in cells[same, other]) for name in ("flops", "residual"))
        print(f"{same} on the core, {other:2} on others: {flops:8.0f} FLOPS, residual {residual:+8.0f} ({residual / flops:+.1%})")
    from matplotlib.figure import Figure  # pip install 'execo-engine[plot]'
    axes = (figure := Figure(figsize=(6, 4), layout="constrained")).add_subplot(xlabel="VMs on the same core", ylabel="VMs on other cores")
    colours = [mean(row["flops"] for row in mine) / 1000 for mine in cells.values()]
    figure.colorbar(axes.scatter(*zip(*cells, strict=True), c=colours, s=250, marker="s", vmin=0), label="kFLOPS of a VM")
    figure.savefig(f"{directory}/collocation.svg")


if __name__ == "__main__":
    summary(sys.argv[2]) if sys.argv[1:2] == ["summary"] else Collocation().start()

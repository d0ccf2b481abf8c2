#!/usr/bin/env python3
"""How long does a live migration take?  Memory, bandwidth, VMs on the core, memory written meanwhile: 120 settings, 10 migrations each.

    migration.py -c DIR            run the campaign, or go on with it
    migration.py summary DIR       table, migrations.csv and migrations.svg of what there is, also while it runs
"""

import csv
import math
import sys
from itertools import product
from pathlib import Path
from statistics import median

from execo import Remote
from execo_engine import Results
from execo_g5k import G5kTestbed
from execo_g5k.vmengine import VMEngine, VMsFailed
from execo_g5k.vmutils import define_vms, migrate_vm

# MiB; MiB/s; number of VMs on the host, the one that moves included; % of the bandwidth that each VM writes to its memory
SETTINGS = {"memory": [2048, 4096, 8192], "bandwidth": [32, 125], "vms": [1, 2, 3, 4], "rate": [0, 10, 25, 50, 75]}
MEASURED = ("start_date", "source", "converged", "seconds", "command_seconds", "bytes", "memory_bytes", "rounds", "downtime", "written")
WORKING_SET = 0.25      # of the memory
LAST_LINE = r"(?s)(?:.*\n)?(\d+) (\d+)\r?\n"

# Fills a part of the memory, and then writes to it, round and round, so many blocks of 64 KiB each second; says twice a second since when
# the VM is up, in 1/100 s, and how many blocks it has written.  Not zeros, for pages of zeros are not sent.
WRITE = """
size=%(size)d rate=%(rate)d written=0 due=0 tell=0
look() { read -r up idle < /proc/uptime; up=${up%%.*}${up#*.}; }
mkdir -p /tmp/memory && mount -t tmpfs -o size=100%% memory /tmp/memory && cd /tmp/memory || exit 1
dd if=/dev/urandom of=once bs=64k count=8 2> /dev/null
for eighth in $(seq $((size / 8))); do cat once; done > memory || exit 1
look
while :; do
    last=$up; look; due=$((due + rate * (up - last)))
    at=$((written %% size)); blocks=$((due / 100))
    [ $blocks -le $((size - at)) ] || blocks=$((size - at))
    [ $blocks -eq 0 ] || dd if=memory of=memory bs=64k count=$blocks seek=$at conv=notrunc 2> /dev/null
    written=$((written + blocks)); due=$((due - 100 * blocks))
    [ $due -lt $((100 * rate)) ] || due=0               # it cannot keep up: what is late by more than a second is left out
    [ $up -lt $tell ] || { echo $up $written; tell=$((up + 50)); }
    sleep 0.2
done"""


class Migration(VMEngine):
    all_disks = True

    def __init__(self):
        super().__init__()
        options = self.args_parser.add_argument_group("migrations")
        for name, values in SETTINGS.items():
            options.add_argument(f"--{name}", type=int, nargs="+", default=values, help=f"Default = {values}")
        options.add_argument("--migrations", type=int, default=10, help="of each setting, between two hosts. Default = %(default)s")
        options.add_argument("--timeout", default=600, help="that a migration has; then it is aborted. Default = %(default)s")
        options.add_argument("--on", default="paravance", help="a cluster, or a site. Default = %(default)s")
        options.add_argument("--pairs", type=int, default=1, help="of hosts, a setting on each. Default = %(default)s")
        options.add_argument("--cores", nargs="+", default=["0"], help="where all VMs of a pair are, in turn. Default = 0")
        options.add_argument("--walltime", default="6:00:00", help="of a reservation. Default = %(default)s")
        options.add_argument("--vlan", default="kavlan", help="type of the VLAN of the hosts; '': subnets. Default = %(default)s")
        options.add_argument("--environment", default="debian12-min", help="of the hosts. Default = %(default)s")

    def parameters(self):
        return {name: getattr(self.args, name) for name in SETTINGS}

    def testbed(self):
        return G5kTestbed({self.args.on: 2 * self.args.pairs}, self.args.walltime, environment=self.args.environment,
                          vlan=self.args.vlan or None, subnets=None if self.args.vlan else {"slash_22": 1})

    def hosts_needed(self, combination):
        return 2

    def prepare(self, hosts):
        super().prepare(hosts)
        self.order = list(hosts)

    def define(self, combination, hosts):
        pair = self.order.index(hosts[0]) // 2
        return define_vms([f"vm-{pair}-{number}" for number in range(combination["vms"])], host=hosts[0].address, mem=combination["memory"],
                          cpusets=self.args.cores[pair % len(self.args.cores)], hdd=1)

    def measure(self, combination, vms, hosts, directory):
        size, rate = 16 * WORKING_SET * combination["memory"], 16 * combination["bandwidth"] * combination["rate"] / 100
        write = Remote(WRITE % {"size": size, "rate": rate}, self.guests(vms), self.vm_connection_params, {"nolog_expect_fail": True})
        columns = {name: [] for name in MEASURED}
        with write.start():
            before = self.progress(vms, write, 300)
            for _ in range(self.args.migrations):
                self.check(combination)
                source, target = sorted(hosts, key=lambda host: host.address != vms[0]["host"])
                result = self.migrate(vms[0], target, combination["bandwidth"])
                after = self.progress(vms, write, 60)
                (begin, done), (end, more), before = before[0], after[0], after
                job = result.job
                row = (result.start_date, source.address, result.ok, job.seconds or result.seconds, result.seconds, job.data_bytes,
                       job.memory_bytes, job.rounds, job.downtime, 6.25 * (more - done) / (end - begin))
                for name, value in zip(MEASURED, row, strict=True):
                    columns[name].append(value)
        return columns

    def migrate(self, vm, target, bandwidth):
        """One that does not converge is a result too."""
        action = migrate_vm(vm, target, bandwidth=bandwidth, timeout=self.args.timeout, create_disks=False,
                            destination=self.destination, hypervisor=self.hypervisor, connection_params=self.connection_params).run()
        result = action.results[vm["id"]]
        if not result.ok and not (result.aborted and result.still_runs):
            raise VMsFailed("migrate", action.failures)
        return result

    def progress(self, vms, write, timeout):
        """(1/100 s, blocks) of each VM, newly said: it lives, and its memory is as it was."""
        write.expect(LAST_LINE, 0)
        found = [match for _, _, match in write.expect(LAST_LINE, timeout)]
        if None in found:
            raise VMsFailed("write", {vm["id"]: f"it says nothing: {process.stderr}"
                                      for vm, process, match in zip(vms, write.processes, found, strict=True) if match is None})
        return [(int(match[1]), int(match[2])) for match in found]


def interval(values):
    """95 % confidence interval of the median, whatever the distribution: from one of the values to another; of few, from first to last."""
    if not values:
        return math.nan, math.nan
    ordered, place = sorted(values), 0
    while sum(math.comb(len(values), below) for below in range(place + 2)) / 2**len(values) <= 0.025:
        place += 1
    return ordered[place], ordered[-1 - place]


def read(directory):
    """{setting: its migrations}."""
    settings = {}
    for row in Results(directory).rows():
        each = zip(*(row[name] for name in MEASURED), strict=True)
        settings[tuple(row[name] for name in SETTINGS)] = [dict(zip(MEASURED, values, strict=True)) for values in each]
    return settings


def write_csv(settings, file):
    with open(file, "w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow([*SETTINGS, *MEASURED])
        writer.writerows([*setting, *one.values()] for setting, migrations in sorted(settings.items()) for one in migrations)


def middle(migrations, name, width, digits=1, unit=1):
    known = [one[name] / unit for one in migrations if one[name] is not None]
    return f"{median(known):{width}.{digits}f}" if known else f"{'-':>{width}}"


def print_table(settings):
    print("memory MiB/s VMs  rate  written  seconds (95 % conf.)  command     MiB  rounds  downtime  aborted")
    for (memory, bandwidth, vms, rate), migrations in sorted(settings.items()):
        done = [one for one in migrations if one["converged"]]
        low, high = interval([one["seconds"] for one in done])
        print(f"{memory:6} {bandwidth:5} {vms:3} {rate:3} %", middle(migrations, "written", 8), middle(done, "seconds", 8, 2),
              f"({low:5.2f}-{high:5.2f})", middle(done, "command_seconds", 8), middle(done, "bytes", 7, 1, 2**20),
              middle(done, "rounds", 7), middle(done, "downtime", 9, 3), f"{len(migrations) - len(done):3} of {len(migrations)}")


def draw(settings, file):
    from matplotlib.figure import Figure  # pip install 'execo-engine[plot]'

    memories, bandwidths, numbers = (sorted({setting[place] for setting in settings}) for place in range(3))
    figure = Figure(figsize=(1 + 4.5 * len(bandwidths), 1 + 3 * len(memories)), layout="constrained")
    panels = figure.subplots(len(memories), len(bandwidths), sharex=True, sharey="col", squeeze=False)
    for (row, memory), (column, bandwidth), vms in product(enumerate(memories), enumerate(bandwidths), numbers):
        axes, colour = panels[row][column], f"C{numbers.index(vms)}"
        axes.set(title=f"VM of {memory} MiB, at {bandwidth} MiB/s", xlabel="memory written, % of the bandwidth", ylabel="migration, s")
        mine = {setting[3]: migrations for setting, migrations in sorted(settings.items()) if setting[:3] == (memory, bandwidth, vms)}
        done = {rate: [one["seconds"] for one in migrations if one["converged"]] for rate, migrations in mine.items()}
        points = [(rate, median(seconds), *interval(seconds)) for rate, seconds in done.items() if seconds]
        bars = [[middle - low for _, middle, low, _ in points], [high - middle for _, middle, _, high in points]]
        axes.errorbar([point[0] for point in points], [point[1] for point in points], bars, marker="o", capsize=3, color=colour,
                      label=f"{vms} VM{'s' if vms > 1 else ''}")
        aborted = [(rate, one["seconds"]) for rate, migrations in mine.items() for one in migrations if not one["converged"]]
        axes.plot([rate for rate, _ in aborted], [seconds for _, seconds in aborted], "x", color=colour)
    for axes in panels.flat:            # at last: from then on the limits stay
        axes.set_ylim(bottom=0)
    panels[0][0].legend(title="on the core")
    figure.savefig(file)


def summary(directory):
    settings = read(directory)
    if not settings:
        sys.exit(f"no results yet in {directory}")
    print_table(settings)
    write_csv(settings, directory / "migrations.csv")
    draw(settings, directory / "migrations.svg")
    print(f"{sum(map(len, settings.values()))} migrations of {len(settings)} settings: migrations.csv and migrations.svg in {directory}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["summary"]:
        summary(Path(sys.argv[2]))
    else:
        Migration().start()

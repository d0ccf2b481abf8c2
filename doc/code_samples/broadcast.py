#!/usr/bin/env python3
"""How fast do nodes of several sites give a file to each other, with one variant of TCP or another?

    python broadcast.py lyon=8 nancy=8 --megabytes 256 --tcp cubic,reno

In the nine steps of "Testing recent P2P protocols in Grid context", section 6.1 of the Grid'5000 paper.
"""

import re
import secrets
import time
from contextlib import ExitStack
from pathlib import Path

from execo import Get, Put, Remote
from execo_engine import Engine, logger
from execo_g5k import G5kTestbed, default_frontend_connection_params

# Step 1: a program that logs each piece that comes or goes.
PROGRAM = Path(__file__).with_name("broadcast_peer.py")
IMAGE = "broadcast"
REGISTER = f"""kaenv3 -p {IMAGE} >/dev/null 2>&1 && exit
description=$(mktemp) && trap "rm $description" EXIT && kaenv3 -p debian12-big -u deploy |
sed -e 's/^name:.*/name: {IMAGE}/' -e 's/^visibility:.*/visibility: private/' -e /^alias:/d >$description && kaenv3 -a $description"""
QUIET = {"nolog_exit_code": True, "nolog_error": True, "nolog_timeout": True, "nolog_expect_fail": True}       # the table tells


def variants(text):
    """They become words of commands and parts of file names."""
    if not re.fullmatch(r"[a-z0-9_]+(,[a-z0-9_]+)*", text):
        raise ValueError
    return list(dict.fromkeys(text.split(",")))


class Broadcast(Engine):
    def __init__(self):
        super().__init__()
        option = self.args_parser.add_argument
        option("resources", nargs="*", default=["lyon=3", "nancy=3"], metavar="SITE=HOSTS")
        option("--walltime", default="0:30:00")
        option("--lead", type=float, default=20, help="seconds from the request to the start of the jobs")
        option("--megabytes", type=int, default=16, help="size of the file")
        option("--tcp", type=variants, default="cubic,reno", help="congestion controls of the kernel")
        option("--timeout", type=float, default=60, help="seconds that a broadcast may take")
        option("--connect", type=float, default=5, help="seconds before a common start, to reach all nodes")
        option("--tolerance", type=float, default=0.01, help="seconds by which clocks may differ")
        self.rows = {}          # {(tcp, client): what is known of it}
        self.left_out = {}      # {node: why}

    def run(self):
        wanted = {site: int(number) for site, number in (word.split("=") for word in self.args.resources)}
        # Step 2: the image is registered on all sites.
        if not Remote(REGISTER, wanted, default_frontend_connection_params, {"timeout": 60}).run().ok:
            raise SystemExit(f"the image {IMAGE} cannot be registered on all sites")
        # Step 3: nodes are reserved, on all sites for one date...
        testbed = G5kTestbed(wanted, self.args.walltime, lead=self.args.lead, environment=IMAGE,
                             deploy_options={"num_tries": 2, "check_timeout": 10})
        testbed.reserve()
        try:
            testbed.wait()
            # Steps 4 and 5: ...deployed, rebooted and checked...
            nodes = [node.address for node in testbed.deploy()]
            self.left_out.update(testbed.failures)
            self.broadcast(nodes, {**testbed.connection_params, "control_persist": 60})
        finally:
            testbed.release()       # (step 9) ...and released.
            if self.rows:
                print_table(self.rows, self.left_out)
                draw(self.rows, f"{self.result_dir}/broadcast.png")

    def broadcast(self, nodes, params):
        folder = f"/tmp/broadcast-{secrets.token_hex(4)}"
        home = folder + "/{{{host}}}"           # nodes of a grid in a box may share their files
        try:
            # Step 6: the program is brought to all nodes...
            Remote(f"mkdir -p {home}", nodes, params, QUIET).run()
            Put(nodes, [PROGRAM], home, params, process_args=QUIET).run()
            # Step 7: clocks are compared with ours.
            check = Remote("true", nodes, params, QUIET, start_at=time.time() + self.args.connect).run()
            for process in check.processes:
                host = process.host.address
                if not process.ok:
                    self.left_out[host] = f"no start at a given date: {process.error_reason or process.outcome}"
                elif abs(process.clock_offset) + process.clock_error > self.args.tolerance:
                    logger.warning("the clock of %s is %+.6f s ahead, give or take %.6f s", host, process.clock_offset, process.clock_error)
            nodes[:] = self.left(nodes)
            # (step 6) ...and the file to the first of those that are left.
            Remote(f"head -c {self.args.megabytes}M /dev/urandom >{home}/file", nodes[:1], params, QUIET).run()
            try:
                # Step 8: all are started, for each variant of TCP.
                for tcp in self.args.tcp:
                    if len(nodes) < 2:
                        raise SystemExit(f"too few nodes: {nodes}; left out: {self.left_out}")
                    self.rows |= self.share(tcp, home, nodes, params)
                    nodes[:] = self.left(nodes)
            finally:
                # Step 9: the logs are collected, and what was measured is kept, whatever came after it.
                Get(nodes, [f"{home}/*.log"], self.result_dir, params, process_args=QUIET | {"timeout": 60}).run()
                for (tcp, client), row in self.rows.items():
                    row.update(read_log(Path(self.result_dir, f"{client}.{tcp}.log"), client, nodes[0], row["start"]))
                    self.results.append({"tcp": tcp, "client": client}, row)
        finally:
            Remote(f"rm -rf {folder}", nodes, params, QUIET | {"timeout": 20}).run()

    def left(self, nodes):
        return [node for node in nodes if node not in self.left_out]

    def share(self, tcp, home, nodes, params):
        """The tracker and the seeder start on the first node, and then the clients on the others, at one date."""
        with ExitStack() as stack:
            def start(role, hosts, **options):
                action = Remote(f"cd {home} && exec python3 {PROGRAM.name} {role}", hosts, params, QUIET, **options).start()
                stack.callback(lambda: action.kill().wait())
                return action

            def said(action, text):
                (process, _, match), = action.expect(text, timeout=self.args.timeout)
                if match is None:
                    raise SystemExit(f"{process.remote_cmd}: {process.outcome}: {process.stderr}{process.stdout}")
                return match[1]

            tracker = said(start("tracker", nodes[:1]), r"tracker at (\S+)")
            more = f"{{{{{{host}}}}}}.{tcp}.log {tcp} {tracker}"
            digest = said(start(f"seeder {{{{{{host}}}}}} file {more}", nodes[:1]), r"seeding (\w+)")
            clients = start(f"client {{{{{{host}}}}}} copy {more}", nodes[1:], start_at=time.time() + self.args.connect)
            rows = {}
            for process, _, match in clients.expect(r"complete (\S+) (\w+)", timeout=self.args.connect + self.args.timeout):
                begin = (process.command_start_date or 0) + (process.clock_offset or 0)         # by the clock of the client
                row = rows[tcp, process.host.address] = {"start": begin, "seconds": None, "outcome": f"not complete: {process.outcome}"}
                if match is not None:
                    row |= {"seconds": float(match[1]) - begin, "outcome": "complete" if match[2] == digest else "another file"}
                elif process.exit_code == 255:          # of ssh
                    self.left_out[process.host.address] = f"lost with {tcp}"
            logger.info("%s: %d clients, started within %.1f ms", tcp, len(rows), 1000 * (clients.start_skew or 0))
            return rows


def read_log(log, client, seeder, start):
    """How many pieces came from where, and when."""
    events = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    received = [(float(date) - start, sender) for date, what, sender, _, _ in events if what == "received"]
    places = ["seeder" if sender == seeder else "own site" if sender.split(".")[1] == client.split(".")[1] else "other sites"
              for _, sender in received]
    return {"dates": [date for date, _ in received], **{place: places.count(place) for place in ("seeder", "own site", "other sites")}}


def print_table(rows, left_out):
    print(f"{'tcp':8}{'client':34}{'seconds':>8}{'pieces from seeder':>20}{'own site':>10}{'other sites':>13}")
    for (tcp, client), row in sorted(rows.items(), key=lambda item: (item[0][0], item[1]["seconds"] or float("inf"))):
        seconds = f"{row['seconds']:8.3f}" if row["seconds"] else " " * 8
        print(f"{tcp:8}{client:34}{seconds}{row['seeder']:20}{row['own site']:10}{row['other sites']:13}  {row['outcome']}")
    for host, reason in left_out.items():
        print(f"{'':8}{host:34}  left out: {reason}")


def draw(rows, file):
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("no figure: pip install 'execo-g5k[plot]'")
        return
    variants = sorted({tcp for tcp, _ in rows})
    figure = Figure(figsize=(5 * len(variants), 4), layout="constrained")
    for axes, variant in zip(figure.subplots(1, len(variants), squeeze=False, sharex=True, sharey=True)[0], variants, strict=True):
        axes.set(title=variant, xlabel="seconds since the start", ylabel="pieces", xlim=(0, None))
        for (tcp, client), row in rows.items():
            if tcp == variant:
                axes.step(row["dates"], range(1, len(row["dates"]) + 1), where="post", label=client.partition(".")[0])
        axes.legend(fontsize="small")
    figure.savefig(file)
    print(f"figure: {file}")


if __name__ == "__main__":
    Broadcast().start()

#!/usr/bin/env python3
"""A file broadcast among peers, after BitTorrent: who has a piece gives it to others.  It needs Python 3 and nothing else.

    broadcast_peer.py tracker                               knows who takes part, and what the pieces are
    broadcast_peer.py seeder NAME FILE LOG TCP TRACKER      has the file, and tells the tracker its pieces
    broadcast_peer.py client NAME FILE LOG TCP TRACKER      fetches the file, and gives what it has

NAME is that of the peer in the logs; LOG gets a line for each piece that comes or goes: date, what, sender, receiver, piece.  TCP is a
congestion control of the kernel, such as cubic or reno; TRACKER is HOST:PORT.  They end when their standard input ends, or has a line.
"""

import hashlib
import json
import os
import random
import socket
import socketserver
import sys
import threading
import time

PIECE = 1 << 18         # bytes
UPLOADS = 4             # a peer serves so many at once, and no others, so that these find other peers
TURN = 4                # pieces, then it is the turn of another
DOWNLOADS = 4           # from so many peers at once
SECONDS = 5.0           # a peer that is silent for so long is given up
HERE = os.environ.get("SSH_CONNECTION", "- - 127.0.0.1").split()[2]         # where ssh came to this node, others do too


class Server(socketserver.ThreadingTCPServer):
    """Serves each connection in a thread, on some free port.  `serve` is called with what is read, and what is written."""

    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, serve, tcp=None):
        class Handler(socketserver.StreamRequestHandler):
            timeout = SECONDS

            def handle(self):
                try:
                    serve(self.rfile, self.wfile)
                except OSError:         # the other one is gone, or silent
                    pass

        super().__init__((HERE, 0), Handler)
        if tcp:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, tcp.encode())
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Tracker:
    """A peer tells it who it is, and is told who there is, and what the pieces of the file are."""

    def __init__(self):
        self.known = {"torrent": None, "peers": {}}
        self.lock = threading.Lock()
        print("tracker at {}:{}".format(*Server(self.serve).server_address), flush=True)

    def serve(self, asked, told):
        peer = json.loads(asked.readline())
        with self.lock:
            self.known["torrent"] = peer["torrent"] or self.known["torrent"]
            self.known["peers"][peer["name"]] = peer["address"]
            answer = json.dumps(self.known)
        told.write(answer.encode() + b"\n")


class Peer:
    """The seeder, which comes with a torrent, or a client.  Pieces are in `have`, or missing, or being fetched."""

    def __init__(self, name, file, log, tcp, tracker, torrent=None):
        self.name, self.tracker, self.torrent = name, tuple(tracker.rsplit(":", 1)), torrent
        self.file = os.open(file, os.O_RDONLY if torrent else os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        self.log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
        self.lock = threading.Lock()
        self.uploads = threading.Semaphore(UPLOADS)
        self.complete = threading.Event()
        self.have = set(range(len(torrent["pieces"]))) if torrent else set()
        self.address = Server(self.serve, tcp).server_address
        self.peers = self.ask_tracker()
        self.missing = set(range(len(self.torrent["pieces"]))) - self.have
        if self.missing:
            os.posix_fallocate(self.file, 0, self.torrent["size"])         # a full disk ends it here

    def note(self, *words):
        os.write(self.log, " ".join([f"{time.time():.6f}", *map(str, words)]).encode() + b"\n")

    def ask_tracker(self):
        with socket.create_connection(self.tracker, SECONDS) as connection:
            connection.sendall(json.dumps({"name": self.name, "address": self.address, "torrent": self.torrent}).encode() + b"\n")
            known = json.loads(connection.makefile().readline())
        self.torrent = known["torrent"]
        return [(name, tuple(address)) for name, address in known["peers"].items() if name != self.name]

    def length(self, piece):
        return min(PIECE, self.torrent["size"] - piece * PIECE)

    def serve(self, asked, told):
        """One who says its name, is told what there is, and asks for a piece, again and again."""
        if not self.uploads.acquire(blocking=False):
            return
        try:
            name = asked.readline().decode().strip()
            for _ in range(TURN):
                with self.lock:
                    have = sorted(self.have)
                told.write(json.dumps(have).encode() + b"\n")
                piece = asked.readline()
                if not piece:
                    return
                told.write(os.pread(self.file, self.length(int(piece)), int(piece) * PIECE))
                self.note("sent", self.name, name, int(piece))
        finally:
            self.uploads.release()

    def fetch(self):
        """From peers in turn, until the file is complete."""
        while not self.complete.wait(random.uniform(0.001, 0.02)):
            try:
                self.peers = self.ask_tracker()
                name, address = random.choice(self.peers)
                with socket.create_connection(address, SECONDS) as connection:
                    self.fetch_from(name, connection)
            except (OSError, ValueError):       # it is gone, or serves enough others
                pass

    def fetch_from(self, name, connection):
        stream = connection.makefile("rb")
        connection.sendall(self.name.encode() + b"\n")
        while True:
            offered = set(json.loads(stream.readline()))
            with self.lock:
                if not offered & self.missing:
                    return
                piece = random.choice(sorted(offered & self.missing))
                self.missing.remove(piece)
            try:
                connection.sendall(b"%d\n" % piece)
                data = stream.read(self.length(piece))
                good = hashlib.sha256(data).hexdigest() == self.torrent["pieces"][piece]
            except OSError:
                good = False
            if good:
                os.pwrite(self.file, data, piece * PIECE)
                self.note("received", name, self.name, piece)
            with self.lock:
                (self.have if good else self.missing).add(piece)
                if len(self.have) == len(self.torrent["pieces"]):
                    self.complete.set()


def pieces_of(file):
    with open(file, "rb") as stream:
        yield from iter(lambda: stream.read(PIECE), b"")


def digest_of(file):
    whole = hashlib.sha256()
    for data in pieces_of(file):
        whole.update(data)
    return whole.hexdigest()


def main(role, name=None, file=None, log=None, tcp=None, tracker=None):
    threading.Thread(target=lambda: (sys.stdin.readline(), os._exit(0)), daemon=True).start()
    if role == "tracker":
        Tracker()
    elif role == "seeder":
        torrent = {"size": os.path.getsize(file), "pieces": [hashlib.sha256(data).hexdigest() for data in pieces_of(file)]}
        Peer(name, file, log, tcp, tracker, torrent)
        print(f"seeding {digest_of(file)}", flush=True)
    else:
        peer = Peer(name, file, log, tcp, tracker)
        for _ in range(DOWNLOADS):
            threading.Thread(target=peer.fetch, daemon=True).start()
        peer.complete.wait()
        print(f"complete {time.time():.6f} {digest_of(file)}", flush=True)
    threading.Event().wait()


main(*sys.argv[1:])

# ~/.execo.conf.py for campaigns with virtual machines on Grid'5000, on the frontend of a site.
from pathlib import Path

key = Path.home() / ".ssh" / "id_ed25519"                           # without passphrase

g5k_configuration = {
    "hypervisor": {                                                 # keywords of Hypervisor; for all others its defaults
        "bridge": "br0",                                            # each host gets it, with the interface of its default route in it
        "authorized_keys": (key.with_suffix(".pub").read_text(),),  # root of the machines lets it in
    },
    "vm_image": str(Path.home() / "debian12.qcow2"),                # goes to all hosts; it asks DHCP for its address, and has an ssh server
    "vm_connection_params": {"user": "root", "keyfile": str(key)},
}

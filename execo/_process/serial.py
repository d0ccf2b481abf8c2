"""Serial lines as processes: what comes from the device is standard output, what is written goes to it."""

from __future__ import annotations

import shlex

from ..host import Host
from ..log import style
from .local import Process
from .ssh import SshProcess

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from typing_extensions import Unpack

    from .state import ProcessOptions

# A raw line without echo, as the contract gives it; written out because a device keeps what its last user has set.
_MODES = (
    "rows 0 columns 0 line 0 intr ^C quit ^\\\\ erase ^? kill ^U eof ^D eol undef eol2 undef swtch undef start ^Q stop ^S susp ^Z "
    "rprnt ^R werase ^W lnext ^V flush ^O min 1 time 0 -parenb -parodd cs8 hupcl -cstopb cread clocal -crtscts -ignbrk -brkint -ignpar "
    "-parmrk -inpck -istrip -inlcr -igncr -icrnl -ixon -ixoff -iuclc -ixany -imaxbel -iutf8 -opost -olcuc -ocrnl onlcr -onocr -onlret "
    "-ofill -ofdel nl0 cr0 tab0 bs0 vt0 ff0 -isig -icanon -iexten -echo echoe echok -echonl -noflsh -xcase -tostop -echoprt echoctl "
    "echoke")


def serial_command(device: str, speed: int | str) -> str:
    """The shell line that sets a serial line up and connects it."""
    name = shlex.quote("./" + device if device.startswith("-") else device)
    return f"stty -F {name} {shlex.quote(str(speed))} {_MODES} ; cat {name} & cat > {name}"


class Serial(Process):
    """A serial line of this machine.

    :param device: its name, such as ``/dev/ttyS0``.
    :param speed: bits per second.
    """

    def __init__(self, device: str, speed: int | str, **options: Unpack[ProcessOptions]) -> None:
        self.device = device
        self.speed = speed
        own: dict[str, Any] = {"shell": True, **options}
        super().__init__(serial_command(device, speed), **own)

    def _args(self) -> list[str]:
        return [style.command(repr(self.device)), repr(self.speed)]


class SerialSsh(SshProcess):
    """A serial line of another host."""

    def __init__(self, host: Host | str, device: str, speed: int | str, connection_params: Mapping[str, Any] | None = None,
                 **options: Unpack[ProcessOptions]) -> None:
        self.device = device
        self.speed = speed
        super().__init__(serial_command(device, speed), host, connection_params=connection_params, **options)

    def _args(self) -> list[str]:
        return [repr(self.host), style.command(repr(self.device)), repr(self.speed)]

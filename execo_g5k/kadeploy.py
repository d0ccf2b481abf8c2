"""Deployment of environments on nodes by Kadeploy3, and their consoles."""

from __future__ import annotations

from execo.action import Action, ActionNotificationProcessLH, Remote, get_remote
from execo.config import make_connection_params
from execo.host import Host, get_hosts_set
from execo.log import logger, style
from execo.process import (
    ExpectOutputHandler,
    ProcessLifecycleHandler,
    ProcessOutputHandler,
    SshProcess,
    get_process,
    handle_process_output,
)
from execo.time_utils import format_seconds
from execo.utils import comma_join, compact_output, singleton_to_collection

from ._kadeploy.command import Deployment, get_kadeploy_commandline
from ._kadeploy.console import KaconsoleProcess, KaconsoleProcessLifecycleHandler
from ._kadeploy.deploy import deploy
from ._kadeploy.kadeployer import Kadeployer
from ._kadeploy.parse import KadeployOutput
from ._kadeploy.process import FrontendPrefixWrapper
from ._kadeploy.progress import NodeProgress
from ._kadeploy.report import DeploymentReport, NodeReport
from ._kadeploy.result import DeploymentResult
from .config import default_frontend_connection_params, g5k_configuration
from .utils import get_default_frontend, get_frontend_host, get_kavlan_host_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._kadeploy.rest import ApiDeployer

# names that are at home here
_OWN = (
    Deployment, DeploymentReport, DeploymentResult, FrontendPrefixWrapper, KaconsoleProcess, KaconsoleProcessLifecycleHandler, Kadeployer,
    KadeployOutput, NodeProgress, NodeReport, deploy, get_kadeploy_commandline,
)
for _name in _OWN:
    _name.__module__ = __name__         # so that reprs, pickles and the documentation show the public path

__all__ = [
    "Action", "ActionNotificationProcessLH", "ApiDeployer", "Deployment", "DeploymentReport", "DeploymentResult", "ExpectOutputHandler",
    "FrontendPrefixWrapper", "Host", "KaconsoleProcess", "KaconsoleProcessLifecycleHandler", "KadeployOutput", "Kadeployer", "NodeProgress",
    "NodeReport", "ProcessLifecycleHandler", "ProcessOutputHandler", "Remote", "SshProcess", "comma_join", "compact_output",
    "default_frontend_connection_params", "deploy", "format_seconds", "g5k_configuration", "get_default_frontend", "get_frontend_host",
    "get_hosts_set", "get_kadeploy_commandline", "get_kavlan_host_name", "get_process", "get_remote", "handle_process_output", "logger",
    "make_connection_params", "singleton_to_collection", "style",
]


def __getattr__(name: str) -> object:
    if name == "ApiDeployer":           # needs requests, which takes a tenth of a second to import
        from ._kadeploy.rest import ApiDeployer

        ApiDeployer.__module__ = __name__
        globals()[name] = ApiDeployer
        return ApiDeployer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

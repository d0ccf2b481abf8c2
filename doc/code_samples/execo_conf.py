# ~/.execo.conf.py: plain Python, run when execo is imported.
# Each dict is laid over the one of the same name in execo.config; the names not given keep their values.
import logging

configuration = {
    "log_level": logging.INFO,
    "fanout": 200,                      # at most 200 processes of an action at a time
    "kill_timeout": "0:00:20",          # from SIGTERM to SIGKILL
}
default_connection_params = {
    "user": "root",
    "connect_timeout": 10,
    "connect_retries": 2,
}

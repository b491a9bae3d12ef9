"""The configuration of the servers of a log, as NATS reads it."""

from urllib.parse import urlsplit

DEFAULT_PORT = 4222
CLUSTER_PORT = 6222
"""The port on which the servers of a log meet, unless all are on one host."""

DEFAULT_USER = "wakumail"

TEMPLATE = """\
server_name: "{server}"
listen: "{listen}"
jetstream {{
  store_dir: "{store}"
  # Quoted: sync before every acknowledgement. Without it a power cut loses what was confirmed.
  sync_interval: "always"
}}
cluster {{
  name: "{name}"
  listen: "{cluster}"
  routes: [{routes}]
  # Find within seconds that a server is cut off: reads may be sent there until then.
  ping_interval: "2s"
  ping_max: 2
}}
accounts {{
  # The hosts may ask all servers for their settings, to see that each syncs.
  SYS {{
    exports: [{{service: "$SYS.REQ.SERVER.PING.VARZ", response_type: stream, accounts: [LOG]}}]
  }}
  LOG {{
    jetstream: enabled
    users: [{{user: "{user}", password: "{password}"}}]
    imports: [{{service: {{account: SYS, subject: "$SYS.REQ.SERVER.PING.VARZ"}}}}]
  }}
}}
system_account: SYS
{no_auth}"""


class LogServer:
    """One server of the log `name`, by its URL; `place` is its number among all, from 1 on."""

    def __init__(self, name: str, url: str, place: int) -> None:
        parts = urlsplit(url)
        self.name = f"{name}-{place}"
        self.host = parts.hostname or ""
        self.port = parts.port or DEFAULT_PORT
        self.user = parts.username or ""
        self.password = parts.password or ""
        self.cluster_port = CLUSTER_PORT + self.port - DEFAULT_PORT
        if not 0 < self.cluster_port < 1 << 16:
            self.cluster_port = self.port + 1 if self.port < (1 << 16) - 1 else self.port - 1


def configuration(
    name: str, servers: list[LogServer], server: LogServer, *, store: str, any_address: bool = True
) -> str:
    """The file of one server of the log; `store` is the directory of its messages.

    Without `any_address` it listens only on the address by which it is named.
    """
    every = "[::]" if ":" in server.host else "0.0.0.0"
    at = every if any_address else server.host
    user = server.user or DEFAULT_USER
    return TEMPLATE.format(
        server=server.name,
        listen=f"{at}:{server.port}",
        store=store,
        name=name,
        cluster=f"{at}:{server.cluster_port}",
        routes=", ".join(
            f'"nats://{_bracketed(other.host)}:{other.cluster_port}"' for other in servers
        ),
        user=user,
        password=server.password or DEFAULT_USER,
        no_auth="" if server.user else f"no_auth_user: {user}\n",
    )


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host

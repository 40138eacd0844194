"""How clients come in, whatever they speak: listening sockets, PROXY headers, TLS, what strangers may take."""

from mtaframe.entrance.certificates import Certificates
from mtaframe.entrance.clients import client_of, is_in, plain
from mtaframe.entrance.doorway import Doorway

__all__ = ["Certificates", "Doorway", "client_of", "is_in", "plain"]

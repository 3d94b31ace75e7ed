"""Starts a Sydent that asks one name server alone: `start.py ADDRESS PORT`."""

import sys

from twisted.internet import abstract, defer, reactor
from twisted.names import client, dns


class Resolver(client.Resolver):
    """Asks for the address of a host; Twisted itself would ask for records of any type."""

    def getHostByName(self, name, timeout=None, effort=10):
        if abstract.isIPAddress(name):
            return defer.succeed(name)
        name = dns.domainString(name)
        return self.lookupAddress(name, timeout).addCallback(self._cbRecords, name, effort)


address, port = sys.argv[1:]
client.theResolver = Resolver(servers=[(address, int(port))])
reactor.installResolver(client.theResolver)

from sydent.sydent import main  # noqa: E402  (it has to find the resolver installed)

main()

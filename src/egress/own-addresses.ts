import { networkInterfaces } from 'node:os';
import ipaddr from 'ipaddr.js';

/** One spelling for every address; the zone, which names an interface, left out. */
export function normalAddress(address: string): string {
  const [bare = ''] = address.split('%');
  return ipaddr.isValid(bare) ? ipaddr.parse(bare).toNormalizedString() : bare;
}

/**
 * The addresses of this machine's interfaces, as {@link normalAddress} writes them. What listens there may be closed to the world by
 * a firewall in front of the machine, which a connection from the machine to itself never passes.
 */
export function interfaceAddresses(): ReadonlySet<string> {
  const interfaces = Object.values(networkInterfaces()).flatMap((list = []) => list);
  return new Set(interfaces.map(({ address }) => normalAddress(address)));
}

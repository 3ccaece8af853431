import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';
import { AppError } from '../errors.ts';

/**
 * A destination that requests of the service may not go to. The message is public and the same for every reason to do
 * with addresses: it tells nothing about the network the service runs in.
 */
export class DestinationNotAllowedError extends AppError {
  constructor(message = 'Destination not allowed') {
    super('DESTINATION_NOT_ALLOWED', message);
  }
}

/** RFC 4291, section 2.4: what is routed on the internet so far. */
const globalUnicast = ipaddr.parseCIDR('2000::/3');

/** Azure's host, with a virtual machine's settings and secrets: a public address that leads nowhere but there. */
const AZURE_HOST = '168.63.129.16';

/**
 * Whether an address belongs to the public internet: no loopback, private, link-local, CGNAT, multicast, documentation
 * or reserved one, and none that carries another address inside (IPv4-mapped, NAT64, 6to4, Teredo, ISATAP).
 * @param address an IPv4 or IPv6 address; anything else is not public
 */
export function isPublicAddress(address: string): boolean {
  const [bare = ''] = address.split('%');
  if (isIP(bare) === 0 || bare === AZURE_HOST) return false;
  const parsed = ipaddr.parse(bare);
  // ipaddr.js calls everything `unicast` that no list of special purposes names, outside 2000::/3 too.
  if (parsed.range() !== 'unicast') return false;
  return parsed instanceof ipaddr.IPv4 || (parsed.match(globalUnicast) && !isIsatap(parsed));
}

/** RFC 5214, section 6.1: whatever the prefix, the second half says which IPv4 address the packet goes to. */
function isIsatap({ parts }: ipaddr.IPv6): boolean {
  return parts[5] === 0x5efe && (parts[4] === 0 || parts[4] === 0x200);
}

/**
 * A URL that a request may be sent to, as far as its text tells: http or https, no user name or password, and no
 * literal address outside the public internet. WHATWG's parser has brought odd spellings of addresses into their usual form.
 * @param allowPrivate lets private addresses pass (for local use)
 * @throws DestinationNotAllowedError saying what is wrong
 */
export function checkUrl(text: string, allowPrivate: boolean): URL {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || (url.protocol !== 'http:' && url.protocol !== 'https:')) {
    throw new DestinationNotAllowedError('Must be an http or https URL');
  }
  if (url.username !== '' || url.password !== '') {
    throw new DestinationNotAllowedError('Must not contain a user name or password');
  }
  if (allowPrivate) return url;
  const host = literalOf(url.hostname);
  if (isIP(host) === 0 ? isLocalName(host) : !isPublicAddress(host)) throw new DestinationNotAllowedError();
  return url;
}

/** What is wrong with a URL that was given to be called; null when nothing is. See {@link checkUrl}. */
export function urlProblem(text: string, allowPrivate: boolean): string | null {
  try {
    checkUrl(text, allowPrivate);
    return null;
  } catch (error) {
    if (error instanceof DestinationNotAllowedError) return error.message;
    throw error;
  }
}

/** The host without the brackets of an IPv6 address. */
export function literalOf(hostname: string): string {
  return hostname.startsWith('[') ? hostname.slice(1, -1) : hostname;
}

/**
 * Names that never leave the machine or the local network: RFC 6761, 6762 with its appendix G, 8375, ICANN's .internal, and
 * whatever has no dot, which a resolver completes with a domain of its own.
 */
function isLocalName(host: string): boolean {
  const name = host.toLowerCase().replace(/\.$/, '');
  return (
    !name.includes('.') ||
    /\.(localhost|local|localdomain|internal|intranet|private|corp|home|lan|home\.arpa)$/.test(name)
  );
}

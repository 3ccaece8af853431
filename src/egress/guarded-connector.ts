import { isIP } from 'node:net';
import type { Socket } from 'node:net';
import { buildConnector } from 'undici';
import { DestinationNotAllowedError, isPublicAddress, literalOf } from './address-policy.ts';
import { interfaceAddresses, normalAddress } from './own-addresses.ts';
import { resolvePublicly, resolveAsTheSystemDoes } from './resolve.ts';
import type { Resolve } from './resolve.ts';

export interface GuardOptions {
  /** Lets connections go to private and loopback addresses too (`WEBHOOK_ALLOW_PRIVATE_NETWORKS`). */
  readonly allowPrivateNetworks: boolean;
  /** For tests, which must not send a packet even when the guard fails. */
  readonly resolve?: Resolve;
  /** Of the machine itself, as `normalAddress` writes them. Default: those of its interfaces. */
  readonly ownAddresses?: () => ReadonlySet<string>;
  readonly connect?: buildConnector.connector;
}

/** Addresses of one name that are tried in turn, and how long each may take. */
const MAX_ADDRESSES = 4;
const CONNECT_TIMEOUT_MS = 4_000;

const never = new AbortController().signal;

/**
 * A connector that resolves a name once, checks every address, connects to one of those it has checked (never to the
 * name, which could mean another address by then), and looks again at where that led.
 * @param signal ends name look-ups and keeps further addresses from being tried
 */
export function guardedConnector(
  options: GuardOptions,
  signal: AbortSignal = never,
): buildConnector.connector {
  const { allowPrivateNetworks } = options;
  const resolve = options.resolve ?? (allowPrivateNetworks ? resolveAsTheSystemDoes : resolvePublicly);
  const connect = options.connect ?? buildConnector({ timeout: CONNECT_TIMEOUT_MS, allowH2: false });
  const ownAddresses = options.ownAddresses ?? interfaceAddresses;
  const isAllowed = (address: string): boolean =>
    allowPrivateNetworks || (isPublicAddress(address) && !ownAddresses().has(normalAddress(address)));

  async function open(target: buildConnector.Options): Promise<Socket> {
    const host = literalOf(target.hostname);
    const isName = isIP(host) === 0;
    const addresses = isName ? await resolve(host, signal) : [host];
    // One bad address among good ones is an attack or a mistake; either way nobody is served by guessing.
    if (addresses.length === 0 || !addresses.every(isAllowed)) throw new DestinationNotAllowedError();
    let failure: unknown;
    for (const address of addresses.slice(0, MAX_ADDRESSES)) {
      signal.throwIfAborted();
      try {
        const socket = await connected({ ...target, ...(isName && { servername: host }), hostname: address });
        if (leadsWhereItMay(socket)) return socket;
        socket.destroy();
        throw new DestinationNotAllowedError();
      } catch (error) {
        if (error instanceof DestinationNotAllowedError) throw error;
        failure = error;
      }
    }
    throw failure;
  }

  /** A socket without a peer is one that has closed already, or something that is no connection at all. */
  function leadsWhereItMay({ remoteAddress }: Socket): boolean {
    return allowPrivateNetworks || (remoteAddress !== undefined && isAllowed(unmapped(remoteAddress)));
  }

  function connected(target: buildConnector.Options): Promise<Socket> {
    return new Promise((resolve, reject) => {
      connect(target, (...[error, socket]) => {
        if (error === null) resolve(socket);
        else reject(error);
      });
    });
  }

  return (target, callback) => {
    open(target).then(
      (socket) => callback(null, socket),
      (error: unknown) => callback(error instanceof Error ? error : new Error(String(error)), null),
    );
  };
}

/** A dual-stack socket shows an IPv4 peer as `::ffff:a.b.c.d`. */
const unmapped = (address: string): string => address.replace(/^::ffff:(?=\d+\.)/i, '');

import { lookup, Resolver } from 'node:dns/promises';

/** All addresses of a host name. @throws when it cannot be resolved */
export type Resolve = (hostname: string, signal: AbortSignal) => Promise<string[]>;

/** Milliseconds a name server has for its first answer; the second try gets twice as long. */
const DNS_TIMEOUT_MS = 2_000;

/**
 * By DNS alone, without the system's own names, and outside libuv's few threads: four names whose servers never answer
 * would else hold up every file and every look-up of the process.
 */
export const resolvePublicly: Resolve = async (hostname, signal) => {
  signal.throwIfAborted();
  const resolver = new Resolver({ timeout: DNS_TIMEOUT_MS, tries: 2 });
  const cancel = (): void => resolver.cancel();
  signal.addEventListener('abort', cancel, { once: true });
  try {
    const answers = await Promise.allSettled([resolver.resolve4(hostname), resolver.resolve6(hostname)]);
    const addresses = answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []));
    const [failed] = answers.filter((answer) => answer.status === 'rejected');
    if (addresses.length === 0 && failed !== undefined) throw failed.reason;
    return addresses;
  } finally {
    signal.removeEventListener('abort', cancel);
  }
};

/** As every other program on this machine would: hosts file and local names included. */
export const resolveAsTheSystemDoes: Resolve = async (hostname) =>
  (await lookup(hostname, { all: true })).map(({ address }) => address);
